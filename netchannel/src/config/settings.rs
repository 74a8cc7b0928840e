//! The tables that have one place each: control socket, memory, rings, flow table.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::error::Source;
use super::metrics::{self, Metrics};
use super::schema;
use super::section::{Section, as_integer, refuse};
use super::value;
use super::workers::{self, Workers};

/// Bytes of one frame of packet memory.
pub const FRAME_SIZE: u32 = 4096;

/// The longest path of a Unix socket, in bytes (the kernel's `sun_path` less its final zero).
const MAX_SOCKET_PATH: usize = 107;

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Absolute path of the socket.
    pub socket: PathBuf,
    /// The group, by name or number, whose members may ask and change everything, as root may. `None`: root alone, and the daemon's user.
    pub group: Option<String>,
}

/// How the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The user, by name or number, that it becomes when it is started by root. `None`: it stays what it is.
    pub user: Option<String>,
}

/// The memory that packets live in, one such area for each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Frames of [`FRAME_SIZE`] bytes: a power of two, 256 to 1,048,576 (1 MiB to 4 GiB).
    pub frames: u32,
    /// Whether the memory is of huge pages (2 MiB), which must have been set aside (`vm.nr_hugepages`).
    pub huge_pages: HugePages,
}

/// Whether packet memory is of huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// If enough of them are free.
    #[default]
    Auto,
    /// The same, and it is told if there are not enough.
    Wanted,
    /// Never.
    Off,
}

/// Entries of the four rings of each AF_XDP socket: powers of two, 64 to 32,768.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Frames that came in and were not yet looked at.
    pub receive: u32,
    /// Frames handed over for sending.
    pub transmit: u32,
    /// Free frames that the kernel may fill.
    pub fill: u32,
    /// Sent frames on their way back.
    pub completion: u32,
}

/// The flow table of each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTable {
    /// Entries, 1,024 to 16,777,216. A translated connection needs two, one for each direction.
    pub capacity: u32,
    /// Whether the XDP program carries flows that have proved worth it.
    pub offload: FlowOffload,
    /// IPv4 flows that it can carry at once, of all workers, 1,024 to 4,194,304; of IPv6 flows a quarter.
    pub offloaded_flows: u32,
    /// Whether known flows go before new ones while packets are lost because too many come.
    pub limit_new_flows: bool,
}

/// Whether the XDP program carries flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowOffload {
    /// Between devices and for packets that it can.
    Auto,
    /// All packets go through user space.
    Off,
}

/// What outlives the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where the translators' state is kept, an absolute path. `None`: it ends with the daemon.
    pub directory: Option<PathBuf>,
    /// How often it is saved besides the end, 1 second to a day; zero for never.
    pub interval: Duration,
    /// How long after the end the translators' packets are dropped if no other daemon takes over, at most [`LONGEST_TAKEOVER`]; zero
    /// leaves them to the kernel at once.
    pub takeover: Duration,
    /// Where the XDP program is pinned for that time: the absolute path of a directory in a BPF file system.
    pub pins: PathBuf,
}

/// The longest time that packets are dropped after the end.
pub const LONGEST_TAKEOVER: Duration = Duration::from_secs(600);

const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

pub(super) fn state(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> State {
    const EXPECTED: &str = "the absolute path of a directory";
    let mut state = State {
        directory: None,
        interval: Duration::ZERO,
        takeover: Duration::from_secs(15),
        pins: PathBuf::from("/sys/fs/bpf/netchannel"),
    };
    let Some(table) = table else { return state };
    let mut directory = |key: &str| {
        let given = table.string(key, EXPECTED, source)?;
        let path = *given.get_ref();
        if path.starts_with('/') && !path.contains('\0') {
            return Some(PathBuf::from(path));
        }
        refuse(table.value(key)?, key, EXPECTED, source);
        None
    };
    state.directory = directory("directory");
    if let Some(pins) = directory("pins") {
        state.pins = pins;
    }
    if table.value("directory").is_none() {
        table.missing("directory", EXPECTED, source);
    }
    let mut take = |key: &str, time: &mut Duration, longest: Duration| {
        let Some(found) = table.value(key) else { return };
        match value::duration(found.get_ref()) {
            Ok(given) if given <= longest => *time = given,
            Ok(given) => {
                let (given, longest) = (value::in_units(given), value::in_units(longest));
                let message = format!("{given} is too long; expected at most {longest}");
                source.error(&found.span(), key, message);
            }
            Err(message) => source.error(&found.span(), key, message),
        }
    };
    take("interval", &mut state.interval, LONGEST_INTERVAL);
    take("takeover", &mut state.takeover, LONGEST_TAKEOVER);
    state
}

/// The longest name of a user or group, in bytes: that of `utmp`.
const MAX_ACCOUNT: usize = 32;

/// A user or a group. Whether it exists is another matter.
fn account(table: &Section<'_, '_>, key: &str, expected: &str, source: &mut Source<'_>) -> Option<String> {
    let value = table.value(key)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '$');
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_account = |text: &&str| {
        let is_name = text.len() <= MAX_ACCOUNT && text.chars().all(plain) && !text.starts_with('-');
        !text.is_empty()
            && is_name
            && (!is_number(text) || text.parse::<u32>().is_ok_and(|id| id != u32::MAX))
    };
    let given = match value.get_ref() {
        DeValue::Integer(_) => as_integer(value.get_ref())
            .and_then(|id| u32::try_from(id).ok())
            .filter(|&id| id != u32::MAX)
            .map(|id| id.to_string()),
        other => other.as_str().filter(is_account).map(str::to_owned),
    };
    if given.is_none() {
        refuse(value, key, expected, source);
    }
    given
}

pub(super) fn service(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> Service {
    let user = table.and_then(|table| account(table, "user", "the name or number of a user", source));
    Service { user }
}

pub(super) fn control(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> Control {
    const EXPECTED: &str = "an absolute path of at most 107 bytes";
    let mut control = Control {
        socket: PathBuf::from(crate::control::DEFAULT_SOCKET),
        group: None,
    };
    let Some(table) = table else { return control };
    control.group = account(table, "group", "the name or number of a group", source);
    if let Some(socket) = table.string("socket", EXPECTED, source) {
        let path = *socket.get_ref();
        if path.starts_with('/')
            && !path.ends_with('/')
            && path.len() <= MAX_SOCKET_PATH
            && !path.contains('\0')
        {
            control.socket = PathBuf::from(path);
        } else if let Some(value) = table.value("socket") {
            refuse(value, "socket", EXPECTED, source);
        }
    }
    control
}

pub(super) fn memory(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> Memory {
    let mut memory = Memory {
        frames: 16_384,
        huge_pages: HugePages::Auto,
    };
    if let Some(table) = table {
        memory.frames = table.power_of_two("frames", memory.frames, 256..=1 << 20, source);
        if let Some(value) = table.value("huge_pages") {
            match value.get_ref() {
                DeValue::Boolean(true) => memory.huge_pages = HugePages::Wanted,
                DeValue::Boolean(false) => memory.huge_pages = HugePages::Off,
                DeValue::String(word) if word.as_ref() == "auto" => {}
                _ => refuse(value, "huge_pages", "true, false or \"auto\"", source),
            }
        }
    }
    memory
}

pub(super) fn rings(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> Rings {
    let mut rings = Rings {
        receive: 2048,
        transmit: 2048,
        fill: 2048,
        completion: 2048,
    };
    if let Some(table) = table {
        let mut take = |key: &str, ring: &mut u32| {
            *ring = table.power_of_two(key, *ring, 64..=32_768, source);
        };
        take("receive", &mut rings.receive);
        take("transmit", &mut rings.transmit);
        take("fill", &mut rings.fill);
        take("completion", &mut rings.completion);
    }
    rings
}

pub(super) fn flow_table(table: Option<&Section<'_, '_>>, source: &mut Source<'_>) -> FlowTable {
    let mut settings = FlowTable {
        capacity: 262_144,
        offload: FlowOffload::Auto,
        offloaded_flows: 131_072,
        limit_new_flows: true,
    };
    let Some(table) = table else { return settings };
    settings.capacity = table.number("capacity", settings.capacity, 1_024..=1 << 24, source);
    let choices = [("auto", FlowOffload::Auto), ("off", FlowOffload::Off)];
    if let Some(offload) = table.choice("offload", &choices, source) {
        settings.offload = offload;
    }
    settings.offloaded_flows = table.number(
        "offloaded_flows",
        settings.offloaded_flows,
        1_024..=1 << 22,
        source,
    );
    settings.limit_new_flows = table.boolean("limit_new_flows", settings.limit_new_flows, source);
    settings
}

/// Frames must be enough for every interface's socket to be able to receive and to send at once.
pub(super) fn check_memory(
    memory: &Memory,
    rings: &Rings,
    interfaces: usize,
    table: Option<&Section<'_, '_>>,
    source: &mut Source<'_>,
) {
    let interfaces = u32::try_from(interfaces).unwrap_or(u32::MAX).max(1);
    let needed = interfaces.saturating_mul(rings.fill.saturating_add(rings.transmit));
    if memory.frames >= needed {
        return;
    }
    let message = format!(
        "{} frames can not fill the rings of {interfaces} interface{} (fill {} and transmit {} each); expected at \
         least {}",
        memory.frames,
        if interfaces == 1 { "" } else { "s" },
        rings.fill,
        rings.transmit,
        needed.checked_next_power_of_two().unwrap_or(needed),
    );
    let span = table
        .and_then(|table| table.value("frames"))
        .map(|value| value.span());
    source.error(
        &span.or(table.map(|table| table.span.clone())).unwrap_or(0..0),
        "frames",
        message,
    );
}

/// What the tables of this module hold.
pub(super) struct Settings {
    pub(super) control: Control,
    pub(super) metrics: Metrics,
    pub(super) service: Service,
    pub(super) state: State,
    pub(super) workers: Workers,
    pub(super) memory: Memory,
    pub(super) rings: Rings,
    pub(super) flow_table: FlowTable,
}

pub(super) fn read(file: &Section<'_, '_>, interfaces: usize, source: &mut Source<'_>) -> Settings {
    let control_table = file.table("control", &schema::CONTROL, source);
    let metrics_table = file.table("metrics", &schema::METRICS, source);
    let service_table = file.table("service", &schema::SERVICE, source);
    let state_table = file.table("state", &schema::STATE, source);
    let memory_table = file.table("memory", &schema::MEMORY, source);
    let rings_table = file.table("rings", &schema::RINGS, source);
    let flow_table_table = file.table("flow_table", &schema::FLOW_TABLE, source);
    let settings = Settings {
        control: control(control_table.as_ref(), source),
        metrics: metrics::read(metrics_table.as_ref(), source),
        service: service(service_table.as_ref(), source),
        state: state(state_table.as_ref(), source),
        workers: workers::read(file, source),
        memory: memory(memory_table.as_ref(), source),
        rings: rings(rings_table.as_ref(), source),
        flow_table: flow_table(flow_table_table.as_ref(), source),
    };
    check_memory(
        &settings.memory,
        &settings.rings,
        interfaces,
        memory_table.as_ref(),
        source,
    );
    settings
}
