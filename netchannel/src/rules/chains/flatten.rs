//! Following all ways through chains.

use std::rc::Rc;

use super::{Body, Branch, Chains, Destination, Dimension, Hook, Region, Source, Verdict};

/// How deep jumps may go, and ways that part inside of others.
const MAX_DEPTH: usize = 200;

/// How much work one rule set may make: rules looked at, and ranges of values.
const MAX_WORK: usize = 1 << 24;

/// The most decisions that may come of it.
const MAX_DECISIONS: usize = 1 << 20;

/// What is decided for packets that no decision before takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) region: Region,
    pub(crate) outcome: Outcome,
    pub(crate) cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accept,
    Drop,
    Source(Source),
    Destination(Destination),
}

/// What decides: a rule of a chain, or the end of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Rule { chain: usize, rule: usize },
    Policy { hook: usize },
}

/// Why chains can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlattenError {
    #[error(
        "the jumps from here lead back here, or deeper than {MAX_DEPTH} chains; expected chains without a loop"
    )]
    Deep {
        /// The chain that was one too many.
        chain: usize,
    },
    #[error(
        "the chains part into more ways than can be followed; expected fewer rules that return or are for all but some"
    )]
    Long,
}

/// What was found on the ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flat {
    /// In the order in which they are tried. Together they decide all packets.
    pub(crate) decisions: Vec<Decision>,
    /// The rules that can be met, by chain and place, each once and in this order.
    pub(crate) met: Vec<(usize, usize)>,
}

/// Follows the packets of a region through hooks.
pub(crate) fn flatten(chains: &Chains, hooks: &[Hook], region: Region) -> Result<Flat, FlattenError> {
    let mut walk = Walk {
        chains,
        hooks,
        flat: Flat::default(),
        work: 0,
        depth: 0,
        trail: Vec::new(),
    };
    walk.hook(0, region, None)?;
    walk.flat.met.sort_unstable();
    walk.flat.met.dedup();
    Ok(walk.flat)
}

/// The hook that packets are at, and what accepted them before it.
#[derive(Clone, Copy)]
struct At {
    hook: usize,
    cause: Option<Cause>,
}

/// Where packets go on: a rule of a chain, and where they go from the end of that.
struct Frame {
    chain: usize,
    rule: usize,
    up: Option<Rc<Frame>>,
}

struct Walk<'c> {
    chains: &'c Chains,
    hooks: &'c [Hook],
    flat: Flat,
    work: usize,
    depth: usize,
    /// The chains that were jumped into and not left.
    trail: Vec<usize>,
}

/// Packets that nothing has decided; also some that something has decided, for that comes first.
type Undecided = Result<Option<Region>, FlattenError>;

/// What a rule did with the packets of a region.
enum Flow {
    /// The next rule is asked about these.
    On(Region),
    /// The next rule is asked about the first ones; the others leave the chain.
    Parted(Region, Region),
    /// All leave the chain.
    Left,
    Decided,
}

impl Walk<'_> {
    fn decide(&mut self, region: &Region, outcome: Outcome, cause: Cause) -> Result<(), FlattenError> {
        self.spend(region.len())?;
        if self.flat.decisions.len() >= MAX_DECISIONS {
            return Err(FlattenError::Long);
        }
        self.flat.decisions.push(Decision {
            region: region.clone(),
            outcome,
            cause,
        });
        Ok(())
    }

    fn spend(&mut self, work: usize) -> Result<(), FlattenError> {
        self.work = self.work.saturating_add(work + 1);
        if self.work > MAX_WORK {
            Err(FlattenError::Long)
        } else {
            Ok(())
        }
    }

    /// Decides all packets of a region from a hook on. `cause` accepted them before.
    fn hook(&mut self, number: usize, region: Region, cause: Option<Cause>) -> Result<(), FlattenError> {
        let Some(hook) = self.hooks.get(number) else {
            let cause = cause.unwrap_or(Cause::Policy {
                hook: self.hooks.len().saturating_sub(1),
            });
            return self.decide(&region, Outcome::Accept, cause);
        };
        let Some(family) = hook.family else {
            return self.asked(number, region, cause);
        };
        if let Some(others) = region.and(&Region::of(family.other())) {
            self.hook(number + 1, others, cause)?;
        }
        match region.and(&Region::of(family)) {
            Some(region) => self.asked(number, region, cause),
            None => Ok(()),
        }
    }

    fn asked(&mut self, number: usize, region: Region, cause: Option<Cause>) -> Result<(), FlattenError> {
        let frame = Rc::new(Frame {
            chain: self.hooks[number].chain,
            rule: 0,
            up: None,
        });
        self.aside(Some(&frame), region, At { hook: number, cause })
    }

    /// Decides all packets of a region from a rule on.
    fn decide_all(&mut self, from: Option<&Rc<Frame>>, region: Region, at: At) -> Result<(), FlattenError> {
        let Some(frame) = from else {
            let policy = Cause::Policy { hook: at.hook };
            return match self.hooks[at.hook].accepts {
                // An empty chain that accepts, as a nat chain's policy, decides nothing that was not decided.
                true => self.hook(at.hook + 1, region, Some(at.cause.unwrap_or(policy))),
                false => self.decide(&region, Outcome::Drop, policy),
            };
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FlattenError::Deep { chain: frame.chain });
        }
        if let Some(region) = self.chain(frame, region, at)? {
            self.decide_all(frame.up.as_ref(), region, at)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Follows the rules of a chain. Gives the packets that get to its end or leave it before.
    fn chain(&mut self, frame: &Rc<Frame>, entering: Region, at: At) -> Undecided {
        let chain = frame.chain;
        if frame.rule == 0 && self.trail.contains(&chain) {
            return Err(FlattenError::Deep { chain });
        }
        self.trail.push(chain);
        let undecided = self.rules(frame, entering, at);
        self.trail.pop();
        undecided
    }

    fn rules(&mut self, frame: &Rc<Frame>, entering: Region, at: At) -> Undecided {
        let chains = self.chains;
        let mut region = entering.clone();
        let mut leaving: Option<Region> = None;
        for (rule, found) in chains.chains[frame.chain]
            .rules
            .iter()
            .enumerate()
            .skip(frame.rule)
        {
            self.flat.met.push((frame.chain, rule));
            self.spend(0)?;
            let Ok(body) = &found.body else { continue };
            let next = Rc::new(Frame {
                chain: frame.chain,
                rule: rule + 1,
                up: frame.up.clone(),
            });
            for branch in &body.branches {
                let Some(taken) = region.and(&branch.region) else {
                    continue;
                };
                self.spend(taken.len())?;
                let Some(taken) = self.pass_over(body, taken, &next, at)? else {
                    continue;
                };
                match self.branch(branch, &region, &taken, rule, &next, at)? {
                    Flow::On(left) => region = left,
                    Flow::Parted(left, parting) => {
                        region = left;
                        // Of several, all that entered: what is decided of them comes before.
                        leaving = Some(leaving.map_or(parting, |_| entering.clone()));
                    }
                    Flow::Left => return Ok(Some(entering)),
                    Flow::Decided => return Ok(leaving),
                }
            }
        }
        Ok(Some(entering))
    }

    /// Takes away the packets that a rule is not for: where they can't be taken out of a list of values, it decides them first, from
    /// the next rule on.
    fn pass_over(&mut self, body: &Body, mut taken: Region, next: &Rc<Frame>, at: At) -> Undecided {
        let mut exceptions = Vec::new();
        if !body.unless_interfaces.is_empty() {
            exceptions.push(Region::with_interfaces(body.unless_interfaces.iter().cloned()));
        }
        if !body.unless_protocols.is_empty() {
            exceptions.push(Region::with(Dimension::Protocol, body.unless_protocols.clone()));
        }
        for exception in exceptions {
            let Some(part) = taken.and(&exception) else {
                continue;
            };
            match taken.without(&part) {
                Some(Some(left)) => taken = left,
                Some(None) => return Ok(None),
                None => self.aside(Some(next), part, at)?,
            }
        }
        Ok(Some(taken))
    }

    /// Decides packets from another rule on, out of all chains that were jumped into.
    fn aside(&mut self, from: Option<&Rc<Frame>>, part: Region, at: At) -> Result<(), FlattenError> {
        let trail = std::mem::take(&mut self.trail);
        let result = self.decide_all(from, part, at);
        self.trail = trail;
        result
    }

    /// What a branch of a rule does with the packets that it takes of a region.
    fn branch(
        &mut self,
        branch: &Branch,
        region: &Region,
        taken: &Region,
        rule: usize,
        next: &Rc<Frame>,
        at: At,
    ) -> Result<Flow, FlattenError> {
        let by_this = Cause::Rule {
            chain: next.chain,
            rule,
        };
        match &branch.verdict {
            Verdict::Accept => self.hook(at.hook + 1, taken.clone(), Some(by_this))?,
            Verdict::Drop => self.decide(taken, Outcome::Drop, by_this)?,
            Verdict::Source(source) => self.decide(taken, Outcome::Source(source.clone()), by_this)?,
            Verdict::Destination(to) => self.decide(taken, Outcome::Destination(to.clone()), by_this)?,
            Verdict::Return => return self.leave(region, taken, next, at),
            Verdict::Jump(target) => {
                let target = Frame {
                    chain: *target,
                    rule: 0,
                    up: Some(next.clone()),
                };
                if self.jump(target, taken, at)?.is_some() {
                    return Ok(Flow::On(region.clone()));
                }
            }
            Verdict::Goto(target) => {
                let target = Frame {
                    chain: *target,
                    rule: 0,
                    up: next.up.clone(),
                };
                if let Some(back) = self.jump(target, taken, at)? {
                    return self.leave(region, &back, next, at);
                }
            }
        }
        Ok(if taken == region {
            Flow::Decided
        } else {
            Flow::On(region.clone())
        })
    }

    fn jump(&mut self, target: Frame, taken: &Region, at: At) -> Undecided {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FlattenError::Deep { chain: target.chain });
        }
        let back = self.chain(&Rc::new(target), taken.clone(), at)?;
        self.depth -= 1;
        Ok(back)
    }

    /// Packets leave a chain before its end.
    fn leave(
        &mut self,
        region: &Region,
        leaving: &Region,
        next: &Rc<Frame>,
        at: At,
    ) -> Result<Flow, FlattenError> {
        if leaving == region {
            return Ok(Flow::Left);
        }
        match region.without(leaving) {
            Some(Some(left)) => Ok(Flow::Parted(left, leaving.clone())),
            Some(None) => Ok(Flow::Left),
            None => {
                self.aside(next.up.as_ref(), leaving.clone(), at)?;
                Ok(Flow::On(region.clone()))
            }
        }
    }
}
