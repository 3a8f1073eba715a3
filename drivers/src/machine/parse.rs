//! The walk over the device tree that fills a [`Machine`].
//!
//! Three passes, since nodes refer to one another by phandle in any order: the harts; the interrupt controllers (whose
//! `#interrupt-cells` say how long a specifier is); then the devices. What the kernel cannot start without (RAM, harts,
//! the timebase, the command line) must be right; a device whose node is malformed is taken for absent.

use super::*;
use base::{Error, Result};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

/// How deep nodes may be nested. Real trees stay below 8; the walk recurses.
const MAX_DEPTH: usize = 16;
/// How an interrupt controller of a hart numbers the external interrupt of the supervisor.
const SUPERVISOR_EXTERNAL: u32 = 9;
/// Bytes from a device tree's start to its total size (Devicetree Specification 0.4, 5.2).
const TOTAL_SIZE_OFFSET: usize = 4;

impl Machine {
    /// Reads a device tree. Bytes after its end are ignored.
    ///
    /// # Errors
    /// `InvalidArgument` when the tree is corrupt or lacks what no machine can do without;
    /// `ArgumentListTooLong` when the command line is longer than [`MAX_BOOT_ARGUMENTS`];
    /// `NoBufferSpace` when there are more ranges of memory than fit.
    pub fn parse(blob: &[u8]) -> Result<Machine> {
        let length = blob.get(TOTAL_SIZE_OFFSET..TOTAL_SIZE_OFFSET + 4).ok_or(Error::InvalidArgument)?;
        let length = Cells(length).next().ok_or(Error::InvalidArgument)? as usize;
        let blob = blob.get(..length).ok_or(Error::InvalidArgument)?;
        let tree = Fdt::new(blob).map_err(|_| Error::InvalidArgument)?;
        let mut machine = Machine::default();
        machine.read_harts(tree)?;
        machine.read_memory(tree)?;
        machine.read_chosen(tree)?;
        let mut walk = Walk {
            machine: &mut machine,
            controllers: ArrayVec::new(),
            syscons: ArrayVec::new(),
            writes: ArrayVec::new(),
        };
        let root = Place::root(tree);
        walk.controllers(&root)?;
        walk.devices(&root)?;
        walk.resolve_writes();
        machine.virtio.sort_unstable_by_key(|device| device.registers.start);
        Ok(machine)
    }

    fn read_harts(&mut self, tree: Fdt<'_>) -> Result<()> {
        let cpus = tree.find_node("/cpus").ok_or(Error::InvalidArgument)?;
        let cells = number_of(&cpus, "#address-cells").unwrap_or(1) as u32;
        let mut timebase = number_of(&cpus, "timebase-frequency");
        for cpu in cpus.children().filter(|node| is_string(node, "device_type", "cpu") && is_enabled(node)) {
            timebase = timebase.or(number_of(&cpu, "timebase-frequency"));
            let hart = read_hart(&cpu, cells).ok_or(Error::InvalidArgument)?;
            if self.hart(hart.id).is_some() {
                return Err(Error::InvalidArgument);
            }
            if self.harts.try_push(hart).is_err() {
                self.ignored_harts += 1;
            }
        }
        self.timebase_hz = timebase.filter(|frequency| *frequency > 0).ok_or(Error::InvalidArgument)?;
        if self.harts.is_empty() { Err(Error::InvalidArgument) } else { Ok(()) }
    }

    fn read_memory(&mut self, tree: Fdt<'_>) -> Result<()> {
        let root = Place::root(tree);
        for node in
            root.node.children().filter(|node| is_string(node, "device_type", "memory") && is_enabled(node))
        {
            for region in root.child(node).regions() {
                push(&mut self.memory, region)?;
            }
        }
        if self.memory.is_empty() {
            return Err(Error::InvalidArgument);
        }
        for reservation in tree.memory_reservations() {
            let region =
                region_of(reservation.address(), reservation.size()).ok_or(Error::InvalidArgument)?;
            push(&mut self.reserved, region)?;
        }
        if let Some(node) = tree.find_node("/reserved-memory") {
            let parent = root.child(node);
            for node in node.children().filter(is_enabled) {
                for region in parent.child(node).regions() {
                    push(&mut self.reserved, region)?;
                }
            }
        }
        Ok(())
    }

    fn read_chosen(&mut self, tree: Fdt<'_>) -> Result<()> {
        let Some(chosen) = tree.find_node("/chosen") else {
            return Ok(());
        };
        if let Some(property) = chosen.property("bootargs") {
            let arguments = property.value_as::<&str>().map_err(|_| Error::InvalidArgument)?;
            self.chosen.boot_arguments =
                ArrayString::from(arguments).map_err(|_| Error::ArgumentListTooLong)?;
        }
        let start = number_of(&chosen, "linux,initrd-start");
        let end = number_of(&chosen, "linux,initrd-end");
        if let (Some(start), Some(end)) = (start, end) {
            let size = end.checked_sub(start).ok_or(Error::InvalidArgument)?;
            let region = region_of(start, size).ok_or(Error::InvalidArgument)?;
            self.chosen.initial_ram_disk = (size > 0).then_some(region);
        }
        if let Some(seed) = bytes_of(&chosen, "rng-seed") {
            self.chosen.rng_seed.extend(seed.iter().copied().take(MAX_SEED));
        }
        self.chosen.kaslr_seed = number_of(&chosen, "kaslr-seed");
        Ok(())
    }
}

fn push<const N: usize>(list: &mut ArrayVec<Region, N>, region: Region) -> Result<()> {
    if region.size == 0 {
        return Ok(());
    }
    list.try_push(region).map_err(|_| Error::NoBufferSpace)
}

fn read_hart(cpu: &FdtNode<'_>, address_cells: u32) -> Option<Hart> {
    let mut extensions = Extensions::empty();
    if let Some(names) = cpu.property("riscv,isa-extensions") {
        let names = names.value_as::<dtoolkit::FdtStringListIterator<'_>>().ok()?;
        extensions = names.map(Extensions::named).collect();
    } else if let Some(isa) = cpu.property("riscv,isa") {
        extensions = Extensions::from_isa_string(isa.value_as::<&str>().ok()?);
    }
    let translation = match cpu.property("mmu-type").map(|property| property.value_as::<&str>()) {
        Some(Ok("riscv,sv39")) => Translation::Sv39,
        Some(Ok("riscv,sv48")) => Translation::Sv48,
        Some(Ok("riscv,sv57")) => Translation::Sv57,
        _ => Translation::None,
    };
    let controller = cpu.child("interrupt-controller")?;
    Some(Hart {
        id: Cells(bytes_of(cpu, "reg")?).number(address_cells)? as usize,
        extensions,
        translation,
        cache_management_block: number_of(cpu, "riscv,cbom-block-size").unwrap_or(0) as u32,
        cache_zero_block: number_of(cpu, "riscv,cboz-block-size").unwrap_or(0) as u32,
        interrupt_controller: phandle_of(&controller)?,
    })
}

/// Big-endian 32-bit cells that are taken one after the other.
struct Cells<'a>(&'a [u8]);

impl Cells<'_> {
    fn next(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    /// A number of `cells` cells, at most two of which may be other than 0.
    fn number(&mut self, cells: u32) -> Option<u64> {
        let mut value = 0u64;
        for _ in 0..cells {
            if value >> 32 != 0 {
                return None;
            }
            value = value << 32 | u64::from(self.next()?);
        }
        Some(value)
    }
}

fn bytes_of<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    node.property(name)?.value_as().ok()
}

/// A number that may take one cell or two.
fn number_of(node: &FdtNode<'_>, name: &str) -> Option<u64> {
    let bytes = bytes_of(node, name)?;
    match bytes.len() {
        4 => Cells(bytes).number(1),
        8 => Cells(bytes).number(2),
        _ => None,
    }
}

fn phandle_of(node: &FdtNode<'_>) -> Option<Phandle> {
    node.phandle().ok()?.map(Phandle)
}

fn is_string(node: &FdtNode<'_>, name: &str, value: &str) -> bool {
    node.property(name).is_some_and(|property| property.value_as::<&str>() == Ok(value))
}

fn is_enabled(node: &FdtNode<'_>) -> bool {
    bytes_of(node, "status").is_none_or(|status| matches!(status, b"okay\0" | b"ok\0"))
}

fn region_of(start: u64, size: u64) -> Option<Region> {
    let start = PhysicalAddress::new(usize::try_from(start).ok()?);
    let region = Region { start, size: usize::try_from(size).ok()? };
    region.end().map(|_| region)
}

/// A node and where it is: what it inherits from the nodes around it.
struct Place<'p, 'a> {
    node: FdtNode<'a>,
    /// What the node says it is compatible with: names that end with a 0. Every kind of device asks.
    compatible: &'a [u8],
    parent: Option<&'p Place<'p, 'a>>,
    /// The controller to which `interrupts` refers from here down.
    interrupt_parent: Option<Phandle>,
    /// What is left of `stdout-path` from here down, when it leads here.
    output_path: Option<&'a str>,
    depth: usize,
}

impl<'p, 'a> Place<'p, 'a> {
    fn root(tree: Fdt<'a>) -> Self {
        let node = tree.root();
        let interrupt_parent = number_of(&node, "interrupt-parent").map(|number| Phandle(number as u32));
        let output_path = output_path(tree);
        Self { node, compatible: &[], parent: None, interrupt_parent, output_path, depth: 0 }
    }

    fn child<'q>(&'q self, node: FdtNode<'a>) -> Place<'q, 'a> {
        let own = number_of(&node, "interrupt-parent").map(|number| Phandle(number as u32));
        let output_path = self.output_path.and_then(|path| {
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            (first == node.name() || first == node.name_without_address()).then_some(rest)
        });
        let interrupt_parent = own.or(self.interrupt_parent);
        let compatible = bytes_of(&node, "compatible").unwrap_or(&[]);
        Place { node, compatible, parent: Some(self), interrupt_parent, output_path, depth: self.depth + 1 }
    }

    fn address_cells(&self) -> u32 {
        number_of(&self.node, "#address-cells").unwrap_or(2) as u32
    }

    fn size_cells(&self) -> u32 {
        number_of(&self.node, "#size-cells").unwrap_or(1) as u32
    }

    /// The ranges of `reg`, as physical addresses. It ends at the first one that is malformed.
    fn regions(&self) -> impl Iterator<Item = Region> {
        let mut cells = Cells(bytes_of(&self.node, "reg").unwrap_or(&[]));
        let parent = self.parent;
        let (address_cells, size_cells) =
            parent.map_or((0, 0), |parent| (parent.address_cells(), parent.size_cells()));
        core::iter::from_fn(move || {
            if address_cells == 0 || cells.0.is_empty() {
                return None;
            }
            let address = cells.number(address_cells)?;
            let size = cells.number(size_cells)?;
            region_of(parent?.translate(address, size)?, size)
        })
    }

    /// The physical address of what is at `address` on the bus that this node is, `size` bytes.
    fn translate(&self, address: u64, size: u64) -> Option<u64> {
        let Some(parent) = self.parent else {
            return Some(address);
        };
        let ranges = bytes_of(&self.node, "ranges")?;
        if ranges.is_empty() {
            return parent.translate(address, size);
        }
        let mut cells = Cells(ranges);
        loop {
            let child = cells.number(self.address_cells())?;
            let there = cells.number(parent.address_cells())?;
            let length = cells.number(self.size_cells())?;
            if let Some(offset) = address.checked_sub(child)
                && offset.checked_add(size)? <= length
            {
                return parent.translate(there.checked_add(offset)?, size);
            }
            if self.address_cells() + parent.address_cells() + self.size_cells() == 0 {
                return None;
            }
        }
    }

    fn is(&self, compatible: &[&str]) -> bool {
        let mut names = self.compatible.split(|byte| *byte == 0);
        names.any(|name| !name.is_empty() && compatible.iter().any(|known| known.as_bytes() == name))
    }
}

/// The path of the console's node without the leading slash, from `stdout-path` (a path or an alias, and options).
fn output_path<'a>(tree: Fdt<'a>) -> Option<&'a str> {
    let value = |node: FdtNode<'a>, name: &str| {
        core::str::from_utf8(bytes_of(&node, name)?.strip_suffix(b"\0")?).ok()
    };
    let path = value(tree.find_node("/chosen")?, "stdout-path")?;
    let path = path.split(':').next()?;
    match path.strip_prefix('/') {
        Some(path) => Some(path),
        None => value(tree.find_node("/aliases")?, path)?.strip_prefix('/'),
    }
}

/// How interrupt specifiers of one controller look.
#[derive(Clone, Copy)]
struct Specifier {
    controller: Phandle,
    interrupt_cells: u32,
    address_cells: u32,
}

/// A register write whose device is still to be found.
struct PendingWrite {
    device: Phandle,
    offset: u64,
    value: u64,
    off: bool,
}

struct Walk<'m> {
    machine: &'m mut Machine,
    controllers: ArrayVec<Specifier, 32>,
    syscons: ArrayVec<(Phandle, Region), 4>,
    writes: ArrayVec<PendingWrite, 4>,
}

impl Walk<'_> {
    /// Visits the enabled nodes below `place`, those of the harts excepted.
    fn below(
        &mut self,
        place: &Place<'_, '_>,
        visit: fn(&mut Self, &Place<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        if place.depth >= MAX_DEPTH {
            return Err(Error::InvalidArgument);
        }
        for node in place.node.children().filter(is_enabled) {
            if place.depth > 0 || node.name() != "cpus" {
                visit(self, &place.child(node))?;
            }
        }
        Ok(())
    }

    fn controllers(&mut self, place: &Place<'_, '_>) -> Result<()> {
        if let (Some(phandle), Some(cells)) =
            (phandle_of(&place.node), number_of(&place.node, "#interrupt-cells"))
        {
            let address_cells = number_of(&place.node, "#address-cells").unwrap_or(0) as u32;
            let specifier = Specifier { controller: phandle, interrupt_cells: cells as u32, address_cells };
            self.controllers.try_push(specifier).map_err(|_| Error::NoBufferSpace)?;
        }
        if place.is(&["riscv,imsics"])
            && let Some(imsic) = self.imsic(place)
        {
            self.machine.imsic.get_or_insert(imsic);
        }
        self.below(place, Self::controllers)
    }

    /// The harts whose external supervisor interrupt `interrupts-extended` names, each with its place in the list.
    fn supervisor_targets(&self, node: &FdtNode<'_>) -> impl Iterator<Item = HartPlace> {
        let mut cells = Cells(bytes_of(node, "interrupts-extended").unwrap_or(&[]));
        let entries = core::iter::from_fn(move || Some((Phandle(cells.next()?), cells.next()?)));
        let harts = &self.machine.harts;
        let supervisor = |(_, (_, interrupt)): &(u32, (Phandle, u32))| *interrupt == SUPERVISOR_EXTERNAL;
        // A corrupt list may name a hart again and again: no more than there is room for.
        let found = (0..).zip(entries).filter(supervisor).filter_map(move |(index, (phandle, _))| {
            let hart = harts.iter().find(|hart| hart.interrupt_controller == phandle)?;
            Some(HartPlace { hart_id: hart.id, index })
        });
        found.take(MAX_HARTS)
    }

    fn imsic(&self, place: &Place<'_, '_>) -> Option<Imsic> {
        let node = &place.node;
        let harts: ArrayVec<HartPlace, MAX_HARTS> = self.supervisor_targets(node).collect();
        let files = bytes_of(node, "interrupts-extended")?.len() / 8;
        let bits = |name: &str| number_of(node, name).map(|bits| bits as u32);
        let identity_count = bits("riscv,num-ids")?;
        let imsic = Imsic {
            phandle: phandle_of(node)?,
            regions: place.regions().take(MAX_CONTROLLERS).collect(),
            identity_count,
            guest_identity_count: bits("riscv,num-guest-ids").unwrap_or(identity_count),
            guest_index_bits: bits("riscv,guest-index-bits").unwrap_or(0),
            hart_index_bits: bits("riscv,hart-index-bits")
                .unwrap_or(files.next_power_of_two().trailing_zeros()),
            group_index_bits: bits("riscv,group-index-bits").unwrap_or(0),
            group_index_shift: bits("riscv,group-index-shift").unwrap_or(24),
            harts,
        };
        let sane = imsic.guest_index_bits <= 6
            && imsic.hart_index_bits <= 15
            && imsic.group_index_bits <= 7
            && (24..=55).contains(&imsic.group_index_shift)
            && (63..=2047).contains(&imsic.identity_count)
            && imsic.guest_identity_count <= 2047;
        (sane && !imsic.harts.is_empty() && !imsic.regions.is_empty()).then_some(imsic)
    }

    fn devices(&mut self, place: &Place<'_, '_>) -> Result<()> {
        if let Some(region) = place.regions().next() {
            self.device(place, region);
        }
        if place.is(&["syscon-poweroff", "syscon-reboot"]) {
            self.register_write(place);
        }
        self.below(place, Self::devices)
    }

    /// Enters the device at `place` in the machine, if it is one that the kernel knows and there is room.
    fn device(&mut self, place: &Place<'_, '_>, registers: Region) {
        let device = Device { registers, interrupt: self.interrupt(place) };
        if place.is(&["ns16550a", "ns16550", "snps,dw-apb-uart"]) {
            self.uart(place, device);
        } else if place.is(&["google,goldfish-rtc"]) {
            self.machine.rtc.get_or_insert(device);
        } else if place.is(&["virtio,mmio"]) {
            // More slots than the list holds are more devices than the kernel drives.
            let _ = self.machine.virtio.try_push(device);
        } else if place.is(&["riscv,plic0", "sifive,plic-1.0.0"]) {
            self.plic(place, registers);
        } else if place.is(&["riscv,aplic"]) {
            self.aplic(place, registers);
        } else if place.is(&["pci-host-ecam-generic"]) {
            let host = self.pci_host(place, registers);
            self.machine.pci = self.machine.pci.take().or(host);
        } else {
            if place.is(&["sifive,test0"]) {
                self.machine.finisher.get_or_insert(device);
            }
            if place.is(&["syscon"])
                && let Some(phandle) = phandle_of(&place.node)
            {
                // A syscon without room here only makes `poweroff` or `reboot` absent.
                let _ = self.syscons.try_push((phandle, registers));
            }
        }
    }

    fn uart(&mut self, place: &Place<'_, '_>, device: Device) {
        let number = |name: &str| number_of(&place.node, name);
        let uart = Uart {
            registers: device.registers,
            interrupt: device.interrupt,
            clock_hz: number("clock-frequency").unwrap_or(0) as u32,
            baud: number("current-speed").unwrap_or(0) as u32,
            register_shift: number("reg-shift").unwrap_or(0).min(3) as u8,
            access_width: if number("reg-io-width") == Some(4) { 4 } else { 1 },
        };
        if self.machine.uart.is_none() || place.output_path == Some("") {
            self.machine.uart = Some(uart);
        }
    }

    fn plic(&mut self, place: &Place<'_, '_>, registers: Region) {
        let contexts = self
            .supervisor_targets(&place.node)
            .map(|HartPlace { hart_id, index }| PlicContext { hart_id, context: index })
            .collect();
        let (phandle, count) = (phandle_of(&place.node), number_of(&place.node, "riscv,ndev"));
        if let (Some(phandle), Some(1..=1023)) = (phandle, count) {
            let source_count = count.unwrap_or(0) as u32;
            // A controller too many leaves the devices behind it without interrupts, as if it were absent.
            let _ = self.machine.plics.try_push(Plic { phandle, registers, source_count, contexts });
        }
    }

    fn aplic(&mut self, place: &Place<'_, '_>, registers: Region) {
        let targets: ArrayVec<HartPlace, MAX_HARTS> = self.supervisor_targets(&place.node).collect();
        let parent = number_of(&place.node, "msi-parent").map(|number| Phandle(number as u32));
        let imsic = self.machine.imsic.as_ref().map(|imsic| imsic.phandle);
        let delivery = match parent {
            // A domain that sends to other files than the supervisor's is the machine level's.
            Some(_) if parent != imsic => return,
            Some(_) => Delivery::Message,
            None if targets.is_empty() => return,
            None => Delivery::Direct(targets),
        };
        let (phandle, count) = (phandle_of(&place.node), number_of(&place.node, "riscv,num-sources"));
        if let (Some(phandle), Some(1..=1023)) = (phandle, count) {
            let source_count = count.unwrap_or(0) as u32;
            // As for the PLIC.
            let _ = self.machine.aplics.try_push(Aplic { phandle, registers, source_count, delivery });
        }
    }

    fn pci_host(&self, place: &Place<'_, '_>, ecam: Region) -> Option<PciHost> {
        let mut buses = Cells(bytes_of(&place.node, "bus-range").unwrap_or(&[0, 0, 0, 0, 0, 0, 0, 255]));
        let (first_bus, last_bus) = (buses.next()?, buses.next()?);
        let mut host = PciHost {
            ecam,
            first_bus: u8::try_from(first_bus).ok()?,
            last_bus: u8::try_from(last_bus).ok()?,
            windows: ArrayVec::new(),
            interrupt_mask: 0,
            interrupts: ArrayVec::new(),
        };
        let parent = place.parent?;
        let mut cells = Cells(bytes_of(&place.node, "ranges")?);
        while let Some(kind) = cells.next() {
            let bus_address = cells.number(2)?;
            let there = cells.number(parent.address_cells())?;
            let size = cells.number(place.size_cells())?;
            let space = match kind >> 24 & 3 {
                1 => PciSpace::Io,
                2 => PciSpace::Memory32,
                3 => PciSpace::Memory64,
                _ => continue,
            };
            let region = region_of(parent.translate(there, size)?, size)?;
            host.windows.try_push(PciWindow { space, bus_address, region }).ok()?;
        }
        self.pci_interrupts(place, &mut host);
        Some(host)
    }

    /// Reads `interrupt-map`: child address (3 cells), pin (1), controller, its address, its specifier.
    fn pci_interrupts(&self, place: &Place<'_, '_>, host: &mut PciHost) -> Option<()> {
        host.interrupt_mask = Cells(bytes_of(&place.node, "interrupt-map-mask")?).next()?;
        let mut cells = Cells(bytes_of(&place.node, "interrupt-map")?);
        while let Some(function) = cells.next() {
            cells.number(2)?;
            let pin = cells.next()?;
            let specifier = *self.specifier(Phandle(cells.next()?))?;
            (0..specifier.address_cells).try_for_each(|_| cells.next().map(|_| ()))?;
            let interrupt = read_specifier(&specifier, &mut cells)?;
            host.interrupts
                .try_push(PciInterrupt { function, pin: u8::try_from(pin).ok()?, interrupt })
                .ok()?;
        }
        Some(())
    }

    fn specifier(&self, controller: Phandle) -> Option<&Specifier> {
        self.controllers.iter().find(|specifier| specifier.controller == controller)
    }

    /// The first interrupt of the node.
    fn interrupt(&self, place: &Place<'_, '_>) -> Option<Interrupt> {
        if let Some(extended) = bytes_of(&place.node, "interrupts-extended") {
            let mut cells = Cells(extended);
            let specifier = self.specifier(Phandle(cells.next()?))?;
            return read_specifier(specifier, &mut cells);
        }
        let mut cells = Cells(bytes_of(&place.node, "interrupts")?);
        read_specifier(self.specifier(place.interrupt_parent?)?, &mut cells)
    }

    fn register_write(&mut self, place: &Place<'_, '_>) {
        let number = |name: &str| number_of(&place.node, name);
        if let (Some(device), Some(value)) = (number("regmap"), number("value")) {
            let offset = number("offset").unwrap_or(0);
            let off = place.is(&["syscon-poweroff"]);
            // The first of each kind is enough.
            let _ = self.writes.try_push(PendingWrite { device: Phandle(device as u32), offset, value, off });
        }
    }

    fn resolve_writes(&mut self) {
        for write in &self.writes {
            let Some((_, registers)) = self.syscons.iter().find(|(phandle, _)| *phandle == write.device)
            else {
                continue;
            };
            let offset = write.offset as usize;
            if !offset.is_multiple_of(4) || offset.saturating_add(4) > registers.size {
                continue;
            }
            let target = if write.off { &mut self.machine.poweroff } else { &mut self.machine.reboot };
            target.get_or_insert(RegisterWrite { registers: *registers, offset, value: write.value as u32 });
        }
    }
}

/// One cell: the source. Two: the source and its trigger (`dt-bindings/interrupt-controller/irq.h`).
fn read_specifier(specifier: &Specifier, cells: &mut Cells<'_>) -> Option<Interrupt> {
    let source = (specifier.interrupt_cells > 0).then(|| cells.next())??;
    let trigger = match specifier.interrupt_cells {
        1 => Trigger::LevelHigh,
        2 => match cells.next()? {
            1 => Trigger::EdgeRising,
            2 => Trigger::EdgeFalling,
            8 => Trigger::LevelLow,
            _ => Trigger::LevelHigh,
        },
        _ => return None,
    };
    (source > 0).then_some(Interrupt { controller: specifier.controller, source, trigger })
}
