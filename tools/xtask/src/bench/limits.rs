//! What must hold at every landing, as counts that repeat exactly: instructions under `-icount`, and bytes.

use super::boot::{file_size, measure_once};
use super::syscall::parse_line;
use crate::build::{ImageOptions, Images};
use crate::guest::Ending;
use crate::qemu::{Machine, Realm};
use crate::root_image;
use crate::run::Errand;
use crate::test::{Context, Outcome};
use anyhow::{Context as _, Result, bail};

/// Instructions from the kernel's first to the first of process 1.
const BOOT_INSTRUCTIONS: f64 = 30e6;
/// Instructions of a `getppid` in the direct realm, with its share of the loop.
const GETPPID_INSTRUCTIONS: f64 = 200.0;
/// Bytes that are in use when one small program runs, beside the root image.
const IDLE_BYTES: f64 = 16_777_216.0;

/// The suite: each limit is a test.
pub fn limits(context: &Context<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    match boot(context) {
        Ok((instructions, idle_bytes)) => {
            check(
                &mut outcome,
                "instructions to the first user instruction",
                instructions,
                BOOT_INSTRUCTIONS,
            );
            check(&mut outcome, "bytes in use beside the root image", idle_bytes, IDLE_BYTES);
        }
        Err(error) => fail(&mut outcome, 2, &error),
    }
    match getppid(context) {
        Ok(instructions) => {
            check(&mut outcome, "instructions of getppid, direct realm", instructions, GETPPID_INSTRUCTIONS);
        }
        Err(error) => fail(&mut outcome, 1, &error),
    }
    Ok(outcome)
}

fn check(outcome: &mut Outcome, what: &str, value: f64, limit: f64) {
    let good = value <= limit;
    outcome.passed += usize::from(good);
    outcome.failed += usize::from(!good);
    let verdict = if good { "ok" } else { "not ok" };
    outcome.output.push_str(&format!("{verdict} {what}: {value:.1}, at most {limit:.0}\n"));
}

fn fail(outcome: &mut Outcome, tests: usize, error: &anyhow::Error) {
    outcome.failed += tests;
    outcome.output.push_str(&format!("not ok {error:#}\n"));
}

/// Instructions of a boot with the default image, and the bytes in use beside that image.
fn boot(context: &Context<'_>) -> Result<(f64, f64)> {
    let initrd = root_image::make(&ImageOptions::default())?;
    let image_bytes = file_size(&initrd)?;
    let Images { kernel, symbols, .. } = context.images;
    let images = Images { kernel: kernel.clone(), symbols: symbols.clone(), initrd };
    let cost = measure_once(&images, &Machine { icount: true, ..context.machine.clone() })?;
    Ok((cost.instructions.unwrap_or(cost.ns) as f64, cost.used_bytes.saturating_sub(image_bytes) as f64))
}

fn getppid(context: &Context<'_>) -> Result<f64> {
    let machine = Machine { icount: true, realm: Realm::Direct, ..context.machine.clone() };
    let context = Context { machine: &machine, ..*context };
    let (ending, output, errors) =
        context.boot(&Errand::command(&["/bin/syscall-bench", "getppid=20000"]))?;
    let printed = String::from_utf8_lossy(&output);
    if ending != Ending::Exit(0) {
        bail!("syscall-bench: {ending:?}\n{printed}{}", String::from_utf8_lossy(&errors));
    }
    let figure = printed.lines().find_map(parse_line);
    Ok(figure.with_context(|| format!("syscall-bench printed `{}`", printed.trim()))?.per_operation)
}
