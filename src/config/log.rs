//! Collects the faults of all files.
//!
//! *Invariant:* a syntax error silences the rest of its file. What the parser made of it may be a secret that a missing
//! quote has torn from its key, and no message may show that.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::fault::{Fault, Level};
use super::inspect::Inspection;
use super::source::Location;

#[derive(Default)]
pub(super) struct FaultLog {
    faults: RefCell<Vec<Fault>>,
    /// By the number of the file: the first line with a syntax error.
    torn: RefCell<HashMap<usize, usize>>,
    is_incomplete: Cell<bool>,
    inspections: RefCell<Vec<Inspection>>,
}

impl FaultLog {
    pub(super) fn add(&self, fault: Fault) {
        let is_torn = |location: &Location| {
            let torn = self.torn.borrow();
            torn.get(&location.order().0).is_some_and(|line| location.last_line() >= *line)
        };
        if !fault.location().is_some_and(is_torn) {
            self.faults.borrow_mut().push(fault);
        }
    }

    /// Adds a syntax error.
    pub(super) fn add_syntax(&self, fault: Fault, location: Location) {
        let (file, line) = (location.order().0, location.line());
        let mut torn = self.torn.borrow_mut();
        let first = torn.entry(file).or_insert(line);
        *first = line.min(*first);
        self.is_incomplete.set(true);
        self.faults.borrow_mut().push(fault.at(location));
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
        self.faults.borrow().iter().all(|fault| fault.level() == Level::Warning)
    }

    /// The errors and the warnings, each in the order of the files.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<Fault>) {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.location().map(Location::order));
        faults.into_iter().partition(|fault| fault.level() == Level::Error)
    }
}
