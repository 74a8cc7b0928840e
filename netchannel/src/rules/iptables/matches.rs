//! Which packets rules take.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::line::{refuse, wrong};
use super::values::{
    arity, flag_names, flags, interface, module, port_list, port_region, ports, prefix, range,
};
use super::words::Word;
use crate::dispatch::dimensions::{FIELDS, Notation, dimension};
use crate::rules::chains::{
    Body, Dimension, Family, ImportOptions, Refusal, Region, Spans, as_comment, highest_value,
    later_fragments, names, not_later_fragments, numbers,
};
use crate::rules::{AddressRange, Name};
use crate::text::quoted;

/// The most combinations of values that one rule may be for.
const MAX_ALTERNATIVES: usize = 256;

/// What a rule is read with.
pub(super) struct Context<'o> {
    pub(super) family: Family,
    pub(super) options: &'o ImportOptions,
    /// The interface of `-o`, where it is not negated.
    leaves_by: RefCell<Option<Name>>,
}

impl<'o> Context<'o> {
    pub(super) fn new(family: Family, options: &'o ImportOptions) -> Self {
        Self {
            family,
            options,
            leaves_by: RefCell::new(None),
        }
    }

    /// The interface by which the packets of the rule leave, as far as it is known.
    pub(super) fn leaves_by(&self) -> Option<Name> {
        let named = self.leaves_by.borrow().clone();
        named.or_else(|| self.options.default_interface().cloned())
    }
}

/// What the states of connections that a rule asks for come to, for a packet that opens a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum States {
    /// It is among them.
    New,
    /// Only packets of flows that are open already.
    Answers,
    Others,
}

pub(super) struct Matches<'c> {
    context: &'c Context<'c>,
    regions: Vec<Region>,
    body: Body,
    refusal: Option<Refusal>,
    pub(super) states: Option<States>,
    pub(super) comment: Option<Name>,
    pub(super) notes: Vec<String>,
}

impl<'c> Matches<'c> {
    pub(super) fn new(context: &'c Context<'c>) -> Self {
        Self {
            context,
            regions: vec![Region::of(context.family)],
            body: Body::default(),
            refusal: None,
            states: None,
            comment: None,
            notes: Vec::new(),
        }
    }

    /// What was read: without branches, and the packets that these are for.
    pub(super) fn end(self) -> Result<(Body, Vec<Region>), Refusal> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok((self.body, self.regions)),
        }
    }

    /// Reads all options, whatever is wrong with some.
    pub(super) fn read(&mut self, words: &[Word]) {
        let mut words = words.iter().peekable();
        let mut not = false;
        while let Some(word) = words.next() {
            if word.text == "!" {
                not = true;
                continue;
            }
            let mut values = Vec::new();
            let arity = arity(&word.text);
            while values.len() < arity.unwrap_or(usize::MAX) {
                // Where it is not known how many values there are, they end where another option starts.
                let next = match arity {
                    Some(_) => words.next(),
                    None => words.next_if(|next| !next.text.starts_with('-') && next.text != "!"),
                };
                match next {
                    Some(value) if value.text == "!" => not = true,
                    Some(value) => values.push(value),
                    None => break,
                }
            }
            let read = match arity {
                Some(arity) if values.len() < arity => {
                    Err(refuse(word, "is the last word; expected a value behind it"))
                }
                _ => self.option(word, &values, not),
            };
            if let Err(refusal) = read {
                self.refusal.get_or_insert(refusal);
            }
            not = false;
        }
    }

    /// Takes only packets that are in one of these besides.
    fn add(&mut self, word: &Word, alternatives: &[Region]) -> Result<(), Refusal> {
        self.regions = Region::all_and(&self.regions, alternatives);
        if self.regions.len() > MAX_ALTERNATIVES {
            self.regions.clear();
            let message = format!(
                "the rule is for more than {MAX_ALTERNATIVES} combinations of values; expected fewer"
            );
            return Err(refuse(word, message));
        }
        Ok(())
    }

    fn option(&mut self, word: &Word, values: &[&Word], not: bool) -> Result<(), Refusal> {
        use Dimension::{DestinationPorts, From, SourcePorts, To};
        let highest_port = u128::from(u16::MAX);
        match (word.text.as_str(), values) {
            ("-s" | "--source" | "--src", [value]) => self.addresses(word, From, prefix(value)?, not),
            ("-d" | "--destination" | "--dst", [value]) => self.addresses(word, To, prefix(value)?, not),
            ("--src-range", [value]) => self.addresses(word, From, range(value)?, not),
            ("--dst-range", [value]) => self.addresses(word, To, range(value)?, not),
            ("-p" | "--protocol", [value]) => self.protocol(word, value, not),
            ("-i" | "--in-interface", [value]) => self.arrives(word, value, not),
            ("-o" | "--out-interface", [value]) => self.leaves(word, value, not),
            ("-f" | "--fragment", []) => {
                let region = if not {
                    not_later_fragments()
                } else {
                    later_fragments()
                };
                self.add(word, &[region])
            }
            ("-m" | "--match", [value]) => module(value),
            ("--sport" | "--source-port", [value]) => {
                self.add(word, &[port_region(SourcePorts, ports(value)?, not)])
            }
            ("--dport" | "--destination-port", [value]) => {
                self.add(word, &[port_region(DestinationPorts, ports(value)?, not)])
            }
            ("--sports" | "--source-ports", [value]) => {
                self.add(word, &[port_region(SourcePorts, port_list(value)?, not)])
            }
            ("--dports" | "--destination-ports", [value]) => {
                self.add(word, &[port_region(DestinationPorts, port_list(value)?, not)])
            }
            ("--ports", [value]) => {
                let listed = port_list(value)?;
                if not {
                    let others = listed.complement(highest_port);
                    self.add(word, &[Region::with_ports(SourcePorts, others.clone())])?;
                    return self.add(word, &[Region::with_ports(DestinationPorts, others)]);
                }
                let either =
                    [SourcePorts, DestinationPorts].map(|side| Region::with_ports(side, listed.clone()));
                self.add(word, &either)
            }
            ("--syn", []) => self.add(word, &[flags(0x17, 0x02, not)]),
            ("--tcp-flags", [mask, set]) => {
                let (mask, set) = (flag_names(mask)?, flag_names(set)?);
                self.add(word, &[flags(mask, set, not)])
            }
            ("--icmp-type", [value]) => self.icmp(word, value, names::icmp, not),
            ("--icmpv6-type", [value]) => self.icmp(word, value, names::icmpv6, not),
            ("--ctstate" | "--state", [value]) => self.state(word, value, not),
            ("--comment", [value]) => {
                self.comment = as_comment(&value.text);
                Ok(())
            }
            ("--dscp", [value]) => {
                let number = match value.text.strip_prefix("0x") {
                    Some(digits) => u8::from_str_radix(digits, 16).ok(),
                    None => value.text.parse().ok(),
                };
                let number = number
                    .filter(|number| *number <= 63)
                    .ok_or_else(|| wrong(value, "a number, 0 to 63"))?;
                self.dscp(word, number.into(), not)
            }
            ("--dscp-class", [value]) => {
                let Notation::Numbers { names, .. } =
                    FIELDS[dimension::DSCP - dimension::FIVE_TUPLE].notation
                else {
                    return Err(refuse(value, "has no names"));
                };
                let lower = value.text.to_ascii_lowercase();
                let found = names.iter().find(|(name, _)| *name == lower);
                let (_, number) = found.ok_or_else(|| wrong(value, "a class such as EF, CS1 or AF11"))?;
                self.dscp(word, (*number).into(), not)
            }
            ("--dst-type", [value]) if value.text == "LOCAL" && !not => {
                let mut region = Region::default();
                region.to_box = true;
                self.add(word, &[region])
            }
            _ => Err(refuse(
                word,
                format!("rules do not ask for what {} asks for", quoted(&word.text)),
            )),
        }
    }

    fn addresses(
        &mut self,
        word: &Word,
        side: Dimension,
        range: AddressRange,
        not: bool,
    ) -> Result<(), Refusal> {
        let (family, first, last) = numbers(&range);
        if family != self.context.family {
            return Err(refuse(
                word,
                "has an address of the other IP version; expected those of one in a table",
            ));
        }
        let mut spans = Spans::range(first, last);
        if not {
            spans = spans.complement(highest_value(side, family));
        }
        self.add(word, &[Region::with_addresses(side, family, spans)])
    }

    fn protocol(&mut self, word: &Word, value: &Word, not: bool) -> Result<(), Refusal> {
        let number = match value.text.as_str() {
            "all" | "0" => None,
            text => Some(
                names::protocol_number(text).ok_or_else(|| wrong(value, "a protocol by name or number"))?,
            ),
        };
        match (number, not) {
            (Some(number), true) => {
                self.body.unless_protocols = Spans::one(number.into());
                Ok(())
            }
            (Some(number), false) => self.add(
                word,
                &[Region::with(Dimension::Protocol, Spans::one(number.into()))],
            ),
            (None, true) => self.add(word, &[]),
            (None, false) => Ok(()),
        }
    }

    fn arrives(&mut self, word: &Word, value: &Word, not: bool) -> Result<(), Refusal> {
        let name = interface(value)?;
        if not {
            self.body.unless_interfaces = BTreeSet::from([name]);
            return Ok(());
        }
        self.add(word, &[Region::with_interfaces([name])])
    }

    fn leaves(&mut self, word: &Word, value: &Word, not: bool) -> Result<(), Refusal> {
        let name = interface(value)?;
        let regions = if not {
            self.context.options.not_leaving_by(&name)
        } else {
            *self.context.leaves_by.borrow_mut() = Some(name.clone());
            self.context.options.leaving_by(&name)
        };
        self.add(word, &regions.map_err(|message| refuse(word, message))?)
    }

    /// `any`, `TYPE`, `TYPE/CODE`, or a name for one of these.
    fn icmp(&mut self, word: &Word, value: &Word, named: names::IcmpNames, not: bool) -> Result<(), Refusal> {
        if value.text == "any" {
            return if not { self.add(word, &[]) } else { Ok(()) };
        }
        let (number, code) = match value.text.split_once('/') {
            Some((number, code)) => number.parse().ok().zip(code.parse().ok().map(Some)),
            None => value
                .text
                .parse()
                .ok()
                .map(|number| (number, None))
                .or_else(|| named(&value.text)),
        }
        .ok_or_else(|| wrong(value, "TYPE or TYPE/CODE, numbers 0 to 255, or a name"))?;
        let highest = u128::from(u8::MAX);
        let types = Spans::one(number.into());
        let codes = code.map(|code| Spans::one(code.into()));
        let of_type = |types: Spans| Region::with_header(Dimension::IcmpType, types);
        let of_type_and_code =
            |codes: Spans| of_type(types.clone()).and(&Region::with(Dimension::IcmpCode, codes));
        match (codes, not) {
            (None, false) => self.add(word, &[of_type(types)]),
            (None, true) => self.add(word, &[of_type(types.complement(highest))]),
            (Some(codes), false) => self.add(word, &Vec::from_iter(of_type_and_code(codes))),
            (Some(codes), true) => {
                let mut others = vec![of_type(types.complement(highest))];
                others.extend(of_type_and_code(codes.complement(highest)));
                self.add(word, &others)
            }
        }
    }

    fn state(&mut self, word: &Word, value: &Word, not: bool) -> Result<(), Refusal> {
        const STATES: [&str; 7] = [
            "NEW",
            "ESTABLISHED",
            "RELATED",
            "SNAT",
            "DNAT",
            "INVALID",
            "UNTRACKED",
        ];
        let mut named = BTreeSet::new();
        for state in value.text.split(',') {
            let known = STATES.iter().position(|known| *known == state);
            named.insert(known.ok_or_else(|| wrong(value, "states such as NEW or RELATED,ESTABLISHED"))?);
        }
        let states: BTreeSet<usize> = (0..STATES.len())
            .filter(|state| named.contains(state) != not)
            .collect();
        let states = match states {
            states if states.contains(&0) => States::New,
            states if states.iter().all(|state| *state <= 4) => States::Answers,
            _ => States::Others,
        };
        self.states = Some(states);
        match states {
            // A rule is asked about the packet that opens a flow.
            States::New => Ok(()),
            States::Answers | States::Others => Err(refuse(
                word,
                format!(
                    "rules are asked about packets that open flows, and {} is none; expected NEW among the states",
                    quoted(&value.text)
                ),
            )),
        }
    }

    fn dscp(&mut self, word: &Word, number: u128, not: bool) -> Result<(), Refusal> {
        let mut spans = Spans::one(number);
        if not {
            spans = spans.complement(63);
        }
        self.add(word, &[Region::with(Dimension::Dscp, spans)])
    }
}
