//! The smallest program with Rust's standard library: says hello and names its arguments.

use std::process::ExitCode;

fn main() -> ExitCode {
    println!("hello from Rust");
    for (number, argument) in std::env::args().enumerate().skip(1) {
        println!("argument {number}: {argument}");
    }
    ExitCode::SUCCESS
}
