//! Device trees as QEMU's `virt` makes them, read back; and broken ones, survived.

use super::*;
use base::Error;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use std::format;
use std::string::String;
use std::vec::Vec;

/// What is chosen on QEMU's command line.
#[derive(Clone, Copy)]
struct Virt {
    harts: u32,
    hypervisor: &'static str,
    interrupts: Controllers,
}

#[derive(Clone, Copy, PartialEq)]
enum Controllers {
    /// `aia=none`.
    Plic,
    /// `aia=aplic-imsic,aia-guests=7`.
    Imsic,
    /// `aia=aplic`.
    Direct,
}

const SUPERVISOR_INTC: u32 = 9;
const MACHINE_INTC: u32 = 11;
const MACHINE_IMSIC: u32 = 0x100;
const SUPERVISOR_IMSIC: u32 = 0x101;
const MACHINE_APLIC: u32 = 0x102;
const WIRED: u32 = 0x103;
const TEST: u32 = 0x104;

fn node(name: &str, properties: &[(&str, Value)], children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).expect("a valid name");
    for (name, value) in properties {
        let bytes: Vec<u8> = match value {
            Value::Cells(cells) => cells.iter().flat_map(|cell| cell.to_be_bytes()).collect(),
            Value::Text(text) => text.bytes().chain([0]).collect(),
        };
        node.add_property(DeviceTreeProperty::new(*name, &bytes[..]).expect("a valid name"));
    }
    children.into_iter().for_each(|child| node.add_child(child));
    node
}

enum Value {
    Cells(Vec<u32>),
    Text(String),
}

fn cells(cells: &[u32]) -> Value {
    Value::Cells(cells.to_vec())
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// The phandle of a hart's own interrupt controller: QEMU counts down.
fn intc(virt: Virt, hart: u32) -> u32 {
    2 * (virt.harts - hart)
}

fn cpus(virt: Virt) -> DeviceTreeNode {
    let hart = |index: u32| {
        let aia = if virt.interrupts == Controllers::Imsic { "_smaia_ssaia" } else { "" };
        let isa =
            format!("rv64imafdc{}_zicsr_zifencei_zihintpause_zba_zbb_zbc_zbs{aia}_sstc", virt.hypervisor);
        let controller = node(
            "interrupt-controller",
            &[
                ("#interrupt-cells", cells(&[1])),
                ("interrupt-controller", cells(&[])),
                ("compatible", text("riscv,cpu-intc")),
                ("phandle", cells(&[intc(virt, index)])),
            ],
            Vec::new(),
        );
        node(
            &format!("cpu@{index}"),
            &[
                ("phandle", cells(&[intc(virt, index) - 1])),
                ("device_type", text("cpu")),
                ("reg", cells(&[index])),
                ("status", text("okay")),
                ("compatible", text("riscv")),
                ("riscv,isa", text(&isa)),
                ("riscv,cbom-block-size", cells(&[64])),
                ("mmu-type", text("riscv,sv48")),
            ],
            [controller].into(),
        )
    };
    let properties = [
        ("#address-cells", cells(&[1])),
        ("#size-cells", cells(&[0])),
        ("timebase-frequency", cells(&[10_000_000])),
    ];
    node("cpus", &properties, (0..virt.harts).map(hart).collect())
}

/// The specifier of a wire that is active while high.
fn wire(virt: Virt, source: u32) -> Value {
    match virt.interrupts {
        Controllers::Plic => cells(&[source]),
        _ => cells(&[source, 4]),
    }
}

fn device(virt: Virt, name: &str, compatible: &str, registers: [u32; 2], source: u32) -> DeviceTreeNode {
    let [start, size] = registers;
    let properties = [
        ("interrupts", wire(virt, source)),
        ("interrupt-parent", cells(&[WIRED])),
        ("reg", cells(&[0, start, 0, size])),
        ("compatible", text(compatible)),
        ("clock-frequency", cells(&[3_686_400])),
    ];
    node(&format!("{name}@{start:x}"), &properties, Vec::new())
}

fn targets(virt: Virt, interrupts: &[u32]) -> Value {
    let pairs =
        (0..virt.harts).flat_map(|hart| interrupts.iter().flat_map(move |irq| [intc(virt, hart), *irq]));
    Value::Cells(pairs.collect())
}

fn plic(virt: Virt) -> DeviceTreeNode {
    let properties = [
        ("phandle", cells(&[WIRED])),
        ("riscv,ndev", cells(&[96])),
        ("reg", cells(&[0, 0xc00_0000, 0, 0x60_0000])),
        ("interrupts-extended", targets(virt, &[MACHINE_INTC, SUPERVISOR_INTC])),
        ("interrupt-controller", cells(&[])),
        ("compatible", text("sifive,plic-1.0.0\0riscv,plic0")),
        ("#address-cells", cells(&[0])),
        ("#interrupt-cells", cells(&[1])),
    ];
    node("plic@c000000", &properties, Vec::new())
}

fn aplic(virt: Virt, start: u32, phandle: u32, imsic: u32, interrupt: u32) -> DeviceTreeNode {
    let delivery = match virt.interrupts {
        Controllers::Imsic => ("msi-parent", cells(&[imsic])),
        _ => ("interrupts-extended", targets(virt, &[interrupt])),
    };
    let properties = [
        ("phandle", cells(&[phandle])),
        ("riscv,num-sources", cells(&[96])),
        ("reg", cells(&[0, start, 0, 0x8000])),
        delivery,
        ("interrupt-controller", cells(&[])),
        ("#interrupt-cells", cells(&[2])),
        ("compatible", text("riscv,aplic")),
    ];
    node(&format!("aplic@{start:x}"), &properties, Vec::new())
}

fn imsic(virt: Virt, start: u32, phandle: u32, guest_bits: u32, interrupt: u32) -> DeviceTreeNode {
    let properties = [
        ("phandle", cells(&[phandle])),
        ("riscv,guest-index-bits", cells(&[guest_bits])),
        ("riscv,ipi-id", cells(&[1])),
        ("riscv,num-ids", cells(&[255])),
        ("reg", cells(&[0, start, 0, (virt.harts << guest_bits) << 12])),
        ("interrupts-extended", targets(virt, &[interrupt])),
        ("msi-controller", cells(&[])),
        ("#interrupt-cells", cells(&[0])),
        ("compatible", text("riscv,imsics")),
    ];
    node(&format!("imsics@{start:x}"), &properties, Vec::new())
}

fn pci(virt: Virt) -> DeviceTreeNode {
    let mut map = Vec::new();
    for slot in 0..4u32 {
        for pin in 0..4u32 {
            map.extend([slot << 11, 0, 0, pin + 1, WIRED, 32 + (slot + pin) % 4]);
            map.extend((virt.interrupts != Controllers::Plic).then_some(4));
        }
    }
    let ranges = [
        [0x100_0000, 0, 0, 0, 0x300_0000, 0, 0x1_0000],
        [0x200_0000, 0, 0x4000_0000, 0, 0x4000_0000, 0, 0x4000_0000],
        [0x300_0000, 4, 0, 4, 0, 4, 0],
    ];
    let properties = [
        ("interrupt-map-mask", cells(&[0x1800, 0, 0, 7])),
        ("interrupt-map", Value::Cells(map)),
        ("ranges", cells(ranges.as_flattened())),
        ("reg", cells(&[0, 0x3000_0000, 0, 0x1000_0000])),
        ("bus-range", cells(&[0, 255])),
        ("compatible", text("pci-host-ecam-generic")),
        ("#size-cells", cells(&[2])),
        ("#interrupt-cells", cells(&[1])),
        ("#address-cells", cells(&[3])),
    ];
    node("pci@30000000", &properties, Vec::new())
}

fn syscon(name: &str, value: u32) -> DeviceTreeNode {
    let properties = [
        ("value", cells(&[value])),
        ("offset", cells(&[0])),
        ("regmap", cells(&[TEST])),
        ("compatible", text(&format!("syscon-{name}"))),
    ];
    node(name, &properties, Vec::new())
}

fn soc(virt: Virt) -> DeviceTreeNode {
    let test = [
        ("phandle", cells(&[TEST])),
        ("reg", cells(&[0, 0x10_0000, 0, 0x1000])),
        ("compatible", text("sifive,test1\0sifive,test0\0syscon")),
    ];
    let mut children = Vec::from([
        device(virt, "rtc", "google,goldfish-rtc", [0x10_1000, 0x1000], 11),
        device(virt, "serial", "ns16550a", [0x1000_0000, 0x100], 10),
        node("test@100000", &test, Vec::new()),
        pci(virt),
    ]);
    for slot in (0..8).rev() {
        children.push(device(
            virt,
            "virtio_mmio",
            "virtio,mmio",
            [0x1000_1000 + slot * 0x1000, 0x1000],
            slot + 1,
        ));
    }
    match virt.interrupts {
        Controllers::Plic => children.push(plic(virt)),
        _ => {
            children.push(aplic(virt, 0xd00_0000, WIRED, SUPERVISOR_IMSIC, SUPERVISOR_INTC));
            children.push(aplic(virt, 0xc00_0000, MACHINE_APLIC, MACHINE_IMSIC, MACHINE_INTC));
        }
    }
    if virt.interrupts == Controllers::Imsic {
        children.push(imsic(virt, 0x2400_0000, MACHINE_IMSIC, 0, MACHINE_INTC));
        children.push(imsic(virt, 0x2800_0000, SUPERVISOR_IMSIC, 3, SUPERVISOR_INTC));
    }
    let properties = [
        ("#address-cells", cells(&[2])),
        ("#size-cells", cells(&[2])),
        ("compatible", text("simple-bus")),
        ("ranges", cells(&[])),
    ];
    node("soc", &properties, children)
}

fn tree(virt: Virt) -> DeviceTree {
    let chosen = [
        ("linux,initrd-end", cells(&[0x8820_04c5])),
        ("linux,initrd-start", cells(&[0x8820_0000])),
        ("rng-seed", cells(&[0x2cf9_69c0, 0x509d_093f])),
        ("kaslr-seed", cells(&[0x1234_5678, 0x9abc_def0])),
        ("bootargs", text("console=ttyS0 quiet")),
        ("stdout-path", text("/soc/serial@10000000")),
    ];
    let memory = |start: u32, size| {
        let properties = [("device_type", text("memory")), ("reg", cells(&[0, start, 0, size]))];
        node(&format!("memory@{start:x}"), &properties, Vec::new())
    };
    let firmware =
        node("mmode_resv0@80000000", &[("reg", cells(&[0, 0x8000_0000, 0, 0x4_0000]))], Vec::new());
    let two = || [("#address-cells", cells(&[2])), ("#size-cells", cells(&[2])), ("ranges", cells(&[]))];
    let mut tree = DeviceTree::new();
    tree.memory_reservations.push(MemoryReservation::new(0x8100_0000, 0x1000));
    tree.root = node(
        "",
        &two()[..2],
        Vec::from([
            node("chosen", &chosen, Vec::new()),
            syscon("poweroff", 0x5555),
            syscon("reboot", 0x7777),
            memory(0x8000_0000, 0x800_0000),
            memory(0x9000_0000, 0x800_0000),
            node("reserved-memory", &two(), [firmware].into()),
            cpus(virt),
            soc(virt),
        ]),
    );
    tree
}

fn set(tree: &mut DeviceTree, path: &str, name: &str, value: &[u8]) {
    let node = tree.find_node_mut(path).expect("a node of the tree");
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new(name, value).expect("a valid name"));
}

fn region(start: usize, size: usize) -> Region {
    Region { start: PhysicalAddress::new(start), size }
}

const PLAIN: Virt = Virt { harts: 2, hypervisor: "h", interrupts: Controllers::Plic };
const AIA: Virt = Virt { harts: 8, hypervisor: "h", interrupts: Controllers::Imsic };

#[test]
fn a_plain_machine_is_read() {
    let machine = Machine::parse(&tree(PLAIN).to_dtb()).expect("a good tree");
    assert_eq!(machine.memory[..], [region(0x8000_0000, 0x800_0000), region(0x9000_0000, 0x800_0000)]);
    assert_eq!(machine.reserved[..], [region(0x8100_0000, 0x1000), region(0x8000_0000, 0x4_0000)]);
    assert_eq!(machine.timebase_hz, 10_000_000);
    assert_eq!(machine.harts.iter().map(|hart| hart.id).collect::<Vec<_>>(), [0, 1]);
    let hart = machine.hart(1).expect("there are two");
    assert!(
        hart.extensions.contains(Extensions::H | Extensions::SSTC) && hart.translation == Translation::Sv48
    );
    assert_eq!((hart.cache_management_block, hart.cache_zero_block), (64, 0));
    assert!(!machine.common_extensions().intersects(Extensions::SSAIA | Extensions::V));

    let chosen = &machine.chosen;
    assert_eq!(&chosen.boot_arguments[..], "console=ttyS0 quiet");
    assert_eq!(chosen.initial_ram_disk, Some(region(0x8820_0000, 0x4c5)));
    assert_eq!(chosen.rng_seed[..], [0x2c, 0xf9, 0x69, 0xc0, 0x50, 0x9d, 0x09, 0x3f]);
    assert_eq!(chosen.kaslr_seed, Some(0x1234_5678_9abc_def0));
}

#[test]
fn the_devices_of_a_plain_machine_are_found() {
    let machine = Machine::parse(&tree(PLAIN).to_dtb()).expect("a good tree");
    let plic = &machine.plics[0];
    assert_eq!((plic.registers, plic.source_count), (region(0xc00_0000, 0x60_0000), 96));
    let contexts = [PlicContext { hart_id: 0, context: 1 }, PlicContext { hart_id: 1, context: 3 }];
    assert_eq!(plic.contexts[..], contexts);
    assert!(machine.aplics.is_empty() && machine.imsic.is_none());

    let interrupt =
        |source| Some(Interrupt { controller: Phandle(WIRED), source, trigger: Trigger::LevelHigh });
    let uart = machine.uart.expect("a console");
    assert_eq!((uart.registers, uart.interrupt), (region(0x1000_0000, 0x100), interrupt(10)));
    assert_eq!((uart.clock_hz, uart.register_shift, uart.access_width), (3_686_400, 0, 1));
    assert_eq!(machine.rtc, Some(Device { registers: region(0x10_1000, 0x1000), interrupt: interrupt(11) }));
    let test = region(0x10_0000, 0x1000);
    assert_eq!(machine.finisher, Some(Device { registers: test, interrupt: None }));
    assert_eq!(machine.poweroff, Some(RegisterWrite { registers: test, offset: 0, value: 0x5555 }));
    assert_eq!(machine.reboot, Some(RegisterWrite { registers: test, offset: 0, value: 0x7777 }));
    assert_eq!(machine.virtio.len(), 8);
    assert_eq!(machine.virtio[2], Device { registers: region(0x1000_3000, 0x1000), interrupt: interrupt(3) });
}

#[test]
fn the_supervisor_s_part_of_aia_is_found() {
    let machine = Machine::parse(&tree(AIA).to_dtb()).expect("a good tree");
    assert!(machine.plics.is_empty());
    assert!(machine.common_extensions().contains(Extensions::SSAIA | Extensions::H));
    let [aplic] = &machine.aplics[..] else { panic!("one supervisor domain") };
    assert_eq!((aplic.registers, aplic.source_count), (region(0xd00_0000, 0x8000), 96));
    assert_eq!(aplic.delivery, Delivery::Message);
    let imsic = machine.imsic.as_ref().expect("files");
    assert_eq!(imsic.regions[..], [region(0x2800_0000, 0x4_0000)]);
    assert_eq!((imsic.guest_index_bits, imsic.hart_index_bits, imsic.identity_count), (3, 3, 255));
    assert_eq!(imsic.harts.iter().map(|hart| hart.hart_id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    let layout = crate::imsic::Layout::new(imsic).expect("a file for each");
    assert_eq!(layout.file(7, 2), Some(PhysicalAddress::new(0x2803_a000)));
    let uart = machine.uart.and_then(|uart| uart.interrupt).expect("a wire");
    assert_eq!((uart.controller, uart.source, uart.trigger), (aplic.phandle, 10, Trigger::LevelHigh));
}

#[test]
fn an_aplic_without_files_is_direct() {
    let virt = Virt { harts: 2, hypervisor: "", interrupts: Controllers::Direct };
    let machine = Machine::parse(&tree(virt).to_dtb()).expect("a good tree");
    assert!(!machine.common_extensions().contains(Extensions::H));
    let [aplic] = &machine.aplics[..] else { panic!("one supervisor domain") };
    assert_eq!(
        aplic.delivery,
        Delivery::Direct((0..2).map(|index| HartPlace { hart_id: index as usize, index }).collect())
    );
}

#[test]
fn the_pci_host_is_read_for_either_controller() {
    for virt in [PLAIN, AIA] {
        let machine = Machine::parse(&tree(virt).to_dtb()).expect("a good tree");
        let host = machine.pci.expect("a host");
        assert_eq!((host.ecam, host.first_bus, host.last_bus), (region(0x3000_0000, 0x1000_0000), 0, 255));
        let spaces: Vec<_> = host.windows.iter().map(|window| (window.space, window.region)).collect();
        let expected = [
            (PciSpace::Io, region(0x300_0000, 0x1_0000)),
            (PciSpace::Memory32, region(0x4000_0000, 0x4000_0000)),
            (PciSpace::Memory64, region(0x4_0000_0000, 0x4_0000_0000)),
        ];
        assert_eq!(spaces, expected);
        assert_eq!((host.interrupt_mask, host.interrupts.len()), (0x1800, 16));
        let last = host.interrupts[15];
        assert_eq!((last.function, last.pin, last.interrupt.source), (3 << 11, 4, 32 + 2));
    }
}

#[test]
fn the_console_is_the_one_that_is_named() {
    let mut tree = tree(PLAIN);
    let second = device(PLAIN, "serial", "ns16550a", [0x1100_0000, 0x100], 12);
    tree.find_node_mut("/soc").expect("there").add_child(second);
    let console = |tree: &DeviceTree| {
        let machine = Machine::parse(&tree.to_dtb()).expect("a good tree");
        machine.uart.expect("a console").registers.start.value()
    };
    assert_eq!(console(&tree), 0x1000_0000);
    set(&mut tree, "/chosen", "stdout-path", b"/soc/serial@11000000:115200n8\0");
    assert_eq!(console(&tree), 0x1100_0000);
    set(&mut tree, "/chosen", "stdout-path", b"serial1:115200n8\0");
    assert_eq!(console(&tree), 0x1000_0000);
    tree.root.add_child(node("aliases", &[("serial1", text("/soc/serial@11000000"))], Vec::new()));
    assert_eq!(console(&tree), 0x1100_0000);
}

#[test]
fn buses_translate_addresses() {
    let mut tree = tree(PLAIN);
    let ranges: Vec<u8> =
        [0u32, 0x1000_0000, 0, 0x2000_0000, 0, 0x10_0000].iter().flat_map(|c| c.to_be_bytes()).collect();
    set(&mut tree, "/soc", "ranges", &ranges);
    let machine = Machine::parse(&tree.to_dtb()).expect("a good tree");
    assert_eq!(machine.uart.expect("inside the range").registers.start.value(), 0x2000_0000);
    assert_eq!(machine.rtc, None, "outside of every range");
    tree.find_node_mut("/soc").expect("there").remove_property("ranges");
    let machine = Machine::parse(&tree.to_dtb()).expect("a good tree");
    assert!(machine.uart.is_none() && machine.virtio.is_empty(), "a bus without ranges is not reached");
}

#[test]
fn disabled_nodes_are_absent() {
    let mut tree = tree(AIA);
    set(&mut tree, "/cpus/cpu@3", "status", b"disabled\0");
    set(&mut tree, "/soc/rtc@101000", "status", b"disabled\0");
    let machine = Machine::parse(&tree.to_dtb()).expect("a good tree");
    let layout = crate::imsic::Layout::new(machine.imsic.as_ref().expect("files")).expect("a file for each");
    assert_eq!((layout.file(3, 0), layout.file(4, 0)), (None, Some(PhysicalAddress::new(0x2802_0000))));
    assert!(machine.hart(3).is_none() && machine.hart(4).is_some() && machine.rtc.is_none());
}

#[test]
fn more_harts_than_fit_are_counted() {
    let virt = Virt { harts: MAX_HARTS as u32 + 6, ..PLAIN };
    let machine = Machine::parse(&tree(virt).to_dtb()).expect("a good tree");
    assert_eq!((machine.harts.len(), machine.ignored_harts), (MAX_HARTS, 6));
    assert_eq!(machine.plics[0].contexts.len(), MAX_HARTS);
}

#[test]
fn what_no_machine_can_lack_is_an_error() {
    let broken = |change: fn(&mut DeviceTree)| {
        let mut tree = tree(PLAIN);
        change(&mut tree);
        Machine::parse(&tree.to_dtb()).expect_err("broken")
    };
    assert_eq!(broken(|tree| drop(tree.root.remove_child("cpus"))), Error::InvalidArgument);
    assert_eq!(broken(|tree| set(tree, "/cpus", "timebase-frequency", &[0; 4])), Error::InvalidArgument);
    assert_eq!(broken(|tree| set(tree, "/cpus/cpu@1", "reg", &[0; 4])), Error::InvalidArgument);
    let long = |tree: &mut DeviceTree| {
        set(tree, "/chosen", "bootargs", &[&[b'a'; MAX_BOOT_ARGUMENTS + 1][..], &[0]].concat())
    };
    assert_eq!(broken(long), Error::ArgumentListTooLong);
    assert_eq!(broken(|tree| set(tree, "/chosen", "linux,initrd-end", &[0; 4])), Error::InvalidArgument);
    let without_memory = |tree: &mut DeviceTree| {
        tree.root.remove_child("memory@80000000");
        tree.root.remove_child("memory@90000000");
    };
    assert_eq!(broken(without_memory), Error::InvalidArgument);
    let deep = |tree: &mut DeviceTree| {
        let mut inner = node("deep", &[], Vec::new());
        for _ in 0..100 {
            inner = node("deep", &[], [inner].into());
        }
        tree.root.add_child(inner);
    };
    assert_eq!(broken(deep), Error::InvalidArgument);
}

#[test]
fn bytes_after_the_tree_are_ignored() {
    let mut blob = tree(PLAIN).to_dtb();
    blob.extend([0xaa; 4096]);
    assert!(Machine::parse(&blob).is_ok());
}

#[test]
fn corrupt_trees_do_not_panic() {
    // xorshift64: the same broken trees in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let small = Virt { harts: 2, ..AIA };
    for virt in [PLAIN, small] {
        let good = tree(virt).to_dtb();
        for length in (0..good.len()).step_by(7) {
            assert!(Machine::parse(&good[..length]).is_err(), "cut to {length} bytes");
        }
        let mut survivors = 0;
        for _ in 0..1500 {
            let mut blob = good.clone();
            for _ in 0..=random(4) {
                let (byte, bit) = (random(blob.len()), random(8));
                blob[byte] ^= 1 << bit;
            }
            survivors += usize::from(Machine::parse(&blob).is_ok());
        }
        assert!(survivors > 30, "the harmless changes must reach the parser: {survivors}");
        for _ in 0..500 {
            let mut blob = good.clone();
            let (word, value) = (random(blob.len() / 4) * 4, [0, 1, 2, 9, 0x7fff_ffff, u32::MAX][random(6)]);
            blob[word..word + 4].copy_from_slice(&value.to_be_bytes());
            let _survives = Machine::parse(&blob).is_ok();
        }
    }
}
