//! A file system that never answers, as a network's does whose server is gone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mount of FUSE whose other end is held and never read. What looks into it hangs until this is dropped.
pub struct DeadMount {
    folder: tempfile::TempDir,
    server: Option<File>,
}

impl DeadMount {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = File::options().read(true).write(true).open("/dev/fuse").expect("the tests run as root");
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", options, "dead"]).arg(folder.path());
        let status = mount.stdin(Stdio::from(server.try_clone().unwrap())).status().unwrap();
        assert!(status.success(), "{status}");
        Self { folder, server: Some(server) }
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        // Without its other end all that hangs is told that there is no connection.
        drop(self.server.take());
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
