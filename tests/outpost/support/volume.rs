//! A volume with files as kubelet mounts Secrets and `ConfigMaps`: what has a name is a link to
//! `..data`, and that is a link to a directory, which is replaced as a whole.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

/// See the module.
pub(crate) struct Volume {
    directory: TempDir,
    version: Cell<u32>,
}

impl Volume {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let volume = Self {
            directory: tempfile::tempdir().expect("a directory"),
            version: Cell::new(0),
        };
        volume.replace(files);
        for (name, _) in files {
            let target = PathBuf::from("..data").join(name);
            symlink(target, volume.directory.path().join(name)).expect("linked");
        }
        volume
    }

    /// Replaces all files at one moment, as `AtomicWriter` of Kubernetes does.
    pub(crate) fn replace(&self, files: &[(&str, &str)]) {
        let at = |name: &str| self.directory.path().join(name);
        let old = fs::read_link(at("..data"));
        self.version.set(self.version.get() + 1);
        let new = format!("..2026_{}", self.version.get());
        fs::create_dir(at(&new)).expect("made");
        for (name, content) in files {
            fs::write(at(&new).join(name), content).expect("written");
        }
        symlink(&new, at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
        if let Ok(old) = old {
            fs::remove_dir_all(self.directory.path().join(old)).expect("removed");
        }
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A reference to a file, as settings have it.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("file://{}", self.path(name))
    }
}
