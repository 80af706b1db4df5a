//! The user who acts on what the config names, and who else may write a file: pure.

/// The user who acts on the files, and that user's own group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acting {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Acting {
    pub(super) fn of_process() -> Self {
        use rustix::process::{getegid, geteuid};
        Self { user: geteuid().as_raw(), group: getegid().as_raw() }
    }

    pub(super) fn is_root(self) -> bool {
        self.user == 0
    }

    /// Who else may write a file with this mode, owner and group, and what to do about it.
    ///
    /// root may write everything, and a group that is our own or root's is taken for one without strangers.
    pub(super) fn other_writer(self, mode: u32, owner: u32, group: u32) -> Option<(String, &'static str)> {
        if mode & 0o002 != 0 {
            Some(("anyone".to_owned(), "chmod o-w"))
        } else if owner != 0 && owner != self.user {
            Some((format!("user {owner}, to whom it belongs"), if self.is_root() { "chown root" } else { "chown" }))
        } else if mode & 0o020 != 0 && group != 0 && group != self.group {
            Some((format!("group {group}"), "chmod g-w"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Acting = Acting { user: 0, group: 0 };
    const ANN: Acting = Acting { user: 1000, group: 1001 };

    fn writer(acting: Acting, mode: u32, owner: u32, group: u32) -> String {
        acting.other_writer(mode, owner, group).map_or("nobody".to_owned(), |(who, _)| who)
    }

    #[test]
    fn what_only_root_and_the_acting_user_may_write_is_trusted() {
        // Debian's /etc, a package's config, a script of root's.
        for (mode, group) in [(0o755, 0), (0o644, 0), (0o750, 998), (0o640, 998), (0o775, 0), (0o2755, 50)] {
            assert_eq!(writer(ROOT, mode, 0, group), "nobody", "{mode:o}");
            assert_eq!(writer(ANN, mode, 0, group), "nobody", "{mode:o}");
        }
        // A home directory, and a file in it with the user's private group.
        for mode in [0o755, 0o700, 0o664, 0o775] {
            assert_eq!(writer(ANN, mode, 1000, 1001), "nobody", "{mode:o}");
        }
    }

    #[test]
    fn what_anyone_a_group_or_another_user_may_write_is_told() {
        assert_eq!(writer(ROOT, 0o666, 0, 0), "anyone");
        assert_eq!(writer(ROOT, 0o664, 0, 27), "group 27");
        assert_eq!(writer(ROOT, 0o644, 1000, 1000), "user 1000, to whom it belongs");
        assert_eq!(writer(ANN, 0o646, 1000, 1001), "anyone");
        assert_eq!(writer(ANN, 0o664, 1000, 100), "group 100");
        assert_eq!(writer(ANN, 0o600, 1002, 1001), "user 1002, to whom it belongs");
    }
}
