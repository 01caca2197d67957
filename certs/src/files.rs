//! Which files a certificate directory has, and how a set of them is put in place: all of them or none, and no
//! private one readable by others at any moment.

use shake_rules::keys::Purpose;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use strum::VariantArray;
use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

/// Who a certificate is for; the signer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray)]
pub enum Identity {
    /// Signs the other two. Phones and gateways trust it.
    Authority,
    /// The gateway, as phones and operators see it.
    Server,
    /// An operator, as the gateway's control port sees them.
    Operator,
}

impl Identity {
    /// The PEM file of the certificate. For [`Identity::Server`] and [`Identity::Operator`] it holds the chain as TLS
    /// sends it: the certificate itself, then those between it and the authority, of which there are none when the
    /// authority signs directly. The authority's own is left out, as RFC 8446, section 4.4.2 allows.
    #[must_use]
    pub fn certificate_file(self) -> &'static str {
        match self {
            Self::Authority => "ca.pem",
            Self::Server => "server.pem",
            Self::Operator => "operator.pem",
        }
    }

    /// The PEM file of the private key (PKCS #8).
    #[must_use]
    pub fn key_file(self) -> &'static str {
        match self {
            Self::Authority => "ca.key.pem",
            Self::Server => "server.key.pem",
            Self::Operator => "operator.key.pem",
        }
    }
}

/// Every file that `generate` makes, in the order in which it puts them in place.
#[must_use]
pub fn all_names() -> Vec<&'static str> {
    let pairs = Identity::VARIANTS
        .iter()
        .flat_map(|identity| [identity.key_file(), identity.certificate_file()]);
    let keys = Purpose::VARIANTS.iter().map(|purpose| purpose.file_name());
    pairs.chain(keys).collect()
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0600: its owner alone.
    Private,
    /// Mode 0644: anyone.
    Public,
}

impl Access {
    fn permissions(self) -> Permissions {
        Permissions::from_mode(match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        })
    }
}

/// A file that is to be put in place.
pub struct NewFile {
    /// Its name within the directory.
    pub name: &'static str,
    /// Who may read it.
    pub access: Access,
    /// What stands in it.
    pub content: String,
}

/// Why files were not put in place. None of them was, and what was there before is still there.
#[derive(Debug, Error)]
pub enum FilesError {
    /// Files of these names are there already.
    #[error(
        "already there: {}. Nothing was written; choose another --out. A new certificate of this authority is made by `certs issue`, \
         and new keys by `certs rotate`, which keep what is out there good",
        list(.0)
    )]
    Exists(Vec<PathBuf>),
    /// The file system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl FilesError {
    fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }
}

/// The first few paths, and how many more there are.
fn list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = paths
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string())
        .collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Those of `names` that exist in the directory, dangling links included.
#[must_use]
pub fn existing(directory: &Path, names: &[&str]) -> Vec<PathBuf> {
    names
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

/// Writes all files into the directory, which is made with mode 0700 when it is not there.
///
/// Everything is written and flushed under temporary names first, so that a full disk changes nothing. Then each is
/// renamed over its final name; when a rename fails, those before it are undone.
///
/// # Errors
/// [`FilesError::Exists`] when `replace` is false and a name is taken, else [`FilesError::Io`].
pub fn install(directory: &Path, files: &[NewFile], replace: bool) -> Result<(), FilesError> {
    let names: Vec<&str> = files.iter().map(|file| file.name).collect();
    let taken = existing(directory, &names);
    if !replace && !taken.is_empty() {
        return Err(FilesError::Exists(taken));
    }
    make_directory(directory)?;
    let staged = files
        .iter()
        .map(|file| stage(directory, file))
        .collect::<Result<Vec<_>, _>>()?;
    let mut undo = Undo::keep(directory, &taken)?;
    for (file, temporary) in files.iter().zip(staged) {
        let path = directory.join(file.name);
        // Without `replace`, a file that appeared since the check above is not overwritten either.
        let placed = if replace {
            temporary.persist(&path)
        } else {
            temporary.persist_noclobber(&path)
        };
        placed.map_err(|error| FilesError::io(&path, "put the new file in place", error.error))?;
        undo.placed.push(path);
    }
    undo.placed.clear();
    let flush = || File::open(directory)?.sync_all();
    flush().map_err(|error| FilesError::io(directory, "flush the directory", error))
}

/// Has the directory for one change alone, until the value is dropped.
///
/// # Errors
/// [`FilesError::Io`].
pub(crate) fn lock(directory: &Path) -> Result<File, FilesError> {
    let locked = File::open(directory).and_then(|directory| directory.lock().map(|()| directory));
    locked.map_err(|error| FilesError::io(directory, "lock the directory", error))
}

fn make_directory(directory: &Path) -> Result<(), FilesError> {
    if directory.is_dir() {
        return Ok(());
    }
    // The parents get the ordinary mode; only the directory itself is private.
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(|error| FilesError::io(parent, "make the directory", error))?;
    }
    DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .map_err(|error| FilesError::io(directory, "make the directory", error))
}

fn stage(directory: &Path, file: &NewFile) -> Result<NamedTempFile, FilesError> {
    let write = || {
        let permissions = file.access.permissions();
        // The mode is given when the file is created; it is set again because the umask may have taken bits away.
        let mut builder = tempfile::Builder::new();
        let mut temporary = builder
            .prefix(".new-")
            .permissions(permissions.clone())
            .tempfile_in(directory)?;
        temporary.as_file().set_permissions(permissions)?;
        keep_owner(temporary.as_file(), &directory.join(file.name))?;
        temporary.write_all(file.content.as_bytes())?;
        temporary.as_file().sync_all()?;
        Ok(temporary)
    };
    write().map_err(|error| FilesError::io(&directory.join(file.name), "write the new file", error))
}

/// Gives a new file the owner of the one that it is to replace: root may write for a service of its own user.
fn keep_owner(new: &File, path: &Path) -> io::Result<()> {
    let (Ok(old), new_one) = (fs::metadata(path), new.metadata()?) else {
        return Ok(());
    };
    if (old.uid(), old.gid()) == (new_one.uid(), new_one.gid()) {
        return Ok(());
    }
    fchown(new, Some(old.uid()), Some(old.gid()))
}

/// Puts the old files back when it is dropped while `placed` names files.
struct Undo {
    old: TempDir,
    placed: Vec<PathBuf>,
}

impl Undo {
    /// Gives each file that is to be replaced a second name, in a private directory beside it.
    fn keep(directory: &Path, taken: &[PathBuf]) -> Result<Self, FilesError> {
        let old = tempfile::Builder::new()
            .prefix(".old-")
            .tempdir_in(directory)
            .map_err(|error| FilesError::io(directory, "make a temporary directory", error))?;
        for path in taken {
            fs::hard_link(path, second_name(&old, path))
                .map_err(|error| FilesError::io(path, "keep the old file while the new one is put in place", error))?;
        }
        Ok(Self {
            old,
            placed: Vec::new(),
        })
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for path in self.placed.iter().rev() {
            // A failure here has nobody to report to: the caller already returns the first error.
            if fs::rename(second_name(&self.old, path), path).is_err() {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn second_name(old: &TempDir, path: &Path) -> PathBuf {
    old.path()
        .join(path.file_name().expect("every path here ends in one of `all_names`"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn files(content: &str) -> Vec<NewFile> {
        ["a", "b", "c"]
            .map(|name| NewFile {
                name,
                access: Access::Private,
                content: content.to_owned(),
            })
            .into()
    }

    fn contents(directory: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap_or_else(|_| "not a file".to_owned());
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        found.sort();
        found
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn one_taken_name_refuses_all() {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("b"), "old").unwrap();
        let error = install(place.path(), &files("new"), false).unwrap_err();
        assert!(
            matches!(&error, FilesError::Exists(paths) if paths == &[place.path().join("b")]),
            "{error}"
        );
        assert_eq!(contents(place.path()), pairs(&[("b", "old")]));
    }

    #[test]
    fn replaces_all_and_leaves_nothing_else() {
        let place = TempDir::new().unwrap();
        install(place.path(), &files("old"), false).unwrap();
        install(place.path(), &files("new"), true).unwrap();
        assert_eq!(
            contents(place.path()),
            pairs(&[("a", "new"), ("b", "new"), ("c", "new")])
        );
    }

    #[test]
    fn a_name_that_cannot_be_replaced_changes_nothing() {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("a"), "old").unwrap();
        fs::create_dir(place.path().join("c")).unwrap();
        assert!(install(place.path(), &files("new"), true).is_err());
        assert_eq!(contents(place.path()), pairs(&[("a", "old"), ("c", "not a file")]));
    }

    #[test]
    fn a_failed_rename_undoes_those_before_it() {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("a"), "old").unwrap();
        let path = |name: &str| place.path().join(name);
        let mut undo = Undo::keep(place.path(), &[path("a")]).unwrap();
        for name in ["a", "b"] {
            fs::write(path("staged"), "new").unwrap();
            fs::rename(path("staged"), path(name)).unwrap();
            undo.placed.push(path(name));
        }
        drop(undo);
        assert_eq!(contents(place.path()), pairs(&[("a", "old")]));
    }
}
