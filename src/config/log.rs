//! Collects the faults of all files.
//!
//! *Invariant:* a syntax error silences the rest of its file. What the parser made of it may be a secret that a missing
//! quote has torn from its key, and no message may show that. And a file with any number of faults fills neither memory nor
//! log.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::fault::{Fault, Level};
use super::inspect::Inspection;
use super::source::Location;

/// Nobody reads on after so many errors, or so many warnings; the rest is counted.
const MOST_FAULTS: usize = 1000;

#[derive(Default)]
pub(super) struct FaultLog {
    /// With whether each is a syntax error.
    faults: RefCell<Vec<(Fault, bool)>>,
    errors: Cell<usize>,
    warnings: Cell<usize>,
    /// By the number of the file: the first line of what is not what it seems.
    torn: RefCell<HashMap<usize, usize>>,
    is_incomplete: Cell<bool>,
    inspections: RefCell<Vec<Inspection>>,
}

impl FaultLog {
    pub(super) fn add(&self, fault: Fault) {
        self.push(fault, false);
    }

    /// Adds a syntax error, which [tears](Self::tear) its file.
    pub(super) fn add_syntax(&self, fault: Fault, location: Location) {
        self.tear(&location);
        self.push(fault.at(location), true);
    }

    /// From this line on, nothing else is said of the file: nothing in it is what it seems.
    pub(super) fn tear(&self, location: &Location) {
        let (file, line) = (location.order().0, location.line());
        let mut torn = self.torn.borrow_mut();
        let first = torn.entry(file).or_insert(line);
        *first = line.min(*first);
        self.is_incomplete.set(true);
    }

    /// Adds a fault that kept a part of the config from being read.
    pub(super) fn add_incomplete(&self, fault: Fault) {
        self.is_incomplete.set(true);
        self.add(fault);
    }

    /// Adds a fault about something that is missing, unless it may stand in a part that could not be read.
    pub(super) fn add_missing(&self, fault: Fault) {
        if !self.is_incomplete.get() {
            self.add(fault);
        }
    }

    /// Has something looked at after all files are read.
    pub(super) fn inspect(&self, inspection: Inspection) {
        self.inspections.borrow_mut().push(inspection);
    }

    pub(super) fn take_inspections(&self) -> Vec<Inspection> {
        self.inspections.take()
    }

    /// Whether nothing was refused so far.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.get() == 0
    }

    /// The errors and the warnings, each in the order of the files.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        let torn = self.torn.into_inner();
        let is_torn =
            |location: &Location| torn.get(&location.order().0).is_some_and(|line| location.last_line() >= *line);
        let mut faults = self.faults.into_inner();
        faults.retain(|(fault, is_syntax)| *is_syntax || !fault.location().is_some_and(is_torn));
        faults.sort_by_key(|(fault, _)| fault.location().map(Location::order));
        let faults = faults.into_iter().map(|(fault, _)| fault);
        let (mut errors, mut warnings): (Vec<_>, Vec<_>) = faults.partition(|fault| fault.level() == Level::Error);
        let all = |count: usize, noun: &str| {
            (count > MOST_FAULTS).then(|| format!("{count} {noun} in all, of which the first {MOST_FAULTS} are told"))
        };
        errors.extend(all(self.errors.get(), "errors").map(Fault::error));
        warnings.extend(all(self.warnings.get(), "warnings").map(Fault::warning));
        (errors, warnings)
    }

    fn push(&self, fault: Fault, is_syntax: bool) {
        let count = match fault.level() {
            Level::Error => &self.errors,
            Level::Warning => &self.warnings,
        };
        count.set(count.get() + 1);
        if count.get() <= MOST_FAULTS {
            self.faults.borrow_mut().push((fault, is_syntax));
        }
    }
}
