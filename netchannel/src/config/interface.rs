//! `[[interface]]`: the kernel interfaces that packets are taken from and sent to.

use std::collections::HashMap;

use ipnet::IpNet;
use toml::Spanned;

use super::error::{Position, Source};
use super::schema;
use super::section::Section;
use super::value;
use crate::rules::PREFIX_EXPECTED;
use crate::text::quoted;

/// The longest name of a kernel interface, in bytes (`IFNAMSIZ` less its final zero).
pub const MAX_INTERFACE_NAME: usize = 15;

/// The most interfaces of one configuration.
pub const MAX_INTERFACES: usize = 128;

/// Which side of a translator an interface is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Hosts whose packets are classified, by their source address.
    Inside,
    /// The rest of the world: external addresses are here.
    Outside,
}

/// Where the XDP program is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver if it can, else in the kernel's generic path.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic path: slow, works everywhere.
    Generic,
}

/// Whether the network card reads and writes packet memory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZeroCopy {
    /// If the driver can.
    Auto,
    /// Always, or not start.
    On,
    /// Never: the kernel copies.
    Off,
}

/// One kernel interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name, at most [`MAX_INTERFACE_NAME`] bytes.
    pub name: String,
    /// Its side.
    pub role: Role,
    /// The sources whose packets are taken. `None`: the interface's connected prefixes at start. Not empty;
    /// always `None` for an outside interface.
    pub prefixes: Option<Vec<IpNet>>,
    /// Where the XDP program is to run.
    pub mode: XdpMode,
    /// Whether the network card reads and writes packet memory itself.
    pub zero_copy: ZeroCopy,
    /// Whether hosts behind it are told by ICMP when their packets can't be forwarded.
    pub icmp_errors: bool,
    /// Where it stands in the file.
    pub position: Position,
}

/// Names that were seen, right or wrong, with what is known of their role.
pub(super) type KnownInterfaces = HashMap<String, Option<Role>>;

pub(super) fn read(file: &Section<'_, '_>, source: &mut Source<'_>) -> (Vec<Interface>, KnownInterfaces) {
    let tables = file.tables("interface", &schema::INTERFACE, source);
    if tables.is_empty()
        && file
            .value("interface")
            .is_none_or(|value| value.get_ref().is_array())
    {
        let message = "no interface; expected at least one [[interface]] with its name and role";
        source.error(&(0..0), "", message);
    }
    if let Some(table) = tables.get(MAX_INTERFACES) {
        source.error(
            &table.span,
            "",
            format!("too many interfaces; expected at most {MAX_INTERFACES}"),
        );
    }
    let mut known = KnownInterfaces::new();
    let mut prefixes = HashMap::new();
    let mut interfaces = Vec::with_capacity(tables.len());
    for table in &tables {
        let name = table.string("name", "the name of a kernel interface", source);
        if name.is_none() && table.value("name").is_none() {
            table.missing("name", "the name of a kernel interface, such as \"eth0\"", source);
        }
        let name = name.filter(|name| check_name(name, source));
        let role = role(table, source);
        if let Some(name) = &name
            && known.insert(name.get_ref().to_string(), role).is_some()
        {
            let message = format!(
                "{} is here twice; expected each interface once",
                quoted(name.get_ref())
            );
            source.error(&name.span(), "name", message);
        }
        let own_prefixes = take_prefixes(table, role, source);
        for prefix in own_prefixes.iter().flatten() {
            let owner = name.as_ref().map_or("this interface", |name| name.get_ref());
            if let Some(other) = prefixes.insert(*prefix.get_ref(), owner) {
                let message = format!("\"{}\" is already a prefix of {other}", prefix.get_ref());
                source.error(&prefix.span(), "prefixes", message);
            }
        }
        let mode = table.choice(
            "mode",
            &[
                ("auto", XdpMode::Auto),
                ("native", XdpMode::Native),
                ("generic", XdpMode::Generic),
            ],
            source,
        );
        let zero_copy = table.choice(
            "zero_copy",
            &[
                ("auto", ZeroCopy::Auto),
                ("on", ZeroCopy::On),
                ("off", ZeroCopy::Off),
            ],
            source,
        );
        let icmp_errors = table.boolean("icmp_errors", true, source);
        if (mode, zero_copy) == (Some(XdpMode::Generic), Some(ZeroCopy::On)) {
            let span = table
                .value("zero_copy")
                .map_or(table.span.clone(), |value| value.span());
            let message =
                "zero-copy needs the driver, which mode = \"generic\" leaves out; expected \"auto\"";
            source.error(&span, "zero_copy", message);
        }
        if let (Some(name), Some(role)) = (name, role) {
            interfaces.push(Interface {
                name: name.into_inner().to_owned(),
                role,
                prefixes: own_prefixes.map(|list| list.into_iter().map(Spanned::into_inner).collect()),
                mode: mode.unwrap_or(XdpMode::Auto),
                zero_copy: zero_copy.unwrap_or(ZeroCopy::Auto),
                icmp_errors,
                position: source.position(table.span.start),
            });
        }
    }
    (interfaces, known)
}

fn role(table: &Section<'_, '_>, source: &mut Source<'_>) -> Option<Role> {
    if table.value("role").is_none() {
        table.missing("role", "\"inside\" or \"outside\"", source);
    }
    table.choice(
        "role",
        &[("inside", Role::Inside), ("outside", Role::Outside)],
        source,
    )
}

fn take_prefixes(
    table: &Section<'_, '_>,
    role: Option<Role>,
    source: &mut Source<'_>,
) -> Option<Vec<Spanned<IpNet>>> {
    let prefixes = table.list("prefixes", PREFIX_EXPECTED, source, value::prefix)?;
    if role == Some(Role::Outside) {
        let span = table.key_span("prefixes").unwrap_or(table.span.clone());
        let message =
            "an outside interface has no prefixes; expected them at an inside interface, or not at all";
        source.error(&span, "prefixes", message);
    }
    Some(prefixes)
}

/// What the kernel takes as the name of an interface.
fn check_name(name: &Spanned<&str>, source: &mut Source<'_>) -> bool {
    let text = *name.get_ref();
    let message = if text.is_empty() {
        "the name is empty; expected the name of a kernel interface, such as \"eth0\"".to_owned()
    } else if text.len() > MAX_INTERFACE_NAME {
        format!(
            "{} has {} bytes; the kernel's names have at most {MAX_INTERFACE_NAME}",
            quoted(text),
            text.len()
        )
    } else if matches!(text, "." | "..")
        || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    {
        format!(
            "{} can not be the name of an interface; expected one such as \"eth0\"",
            quoted(text)
        )
    } else {
        return true;
    };
    source.error(&name.span(), "name", message);
    false
}
