//! The Unix socket: who may use it, and what becomes of one that a crash left behind.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use tokio::net::{UnixListener, UnixStream};

use super::ServeError;

/// A socket that is listened on; its file is removed with it.
pub(super) struct Socket {
    pub listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Makes the socket. One that is there is replaced only if nobody answers on it.
    pub async fn bind(path: PathBuf) -> Result<Self, ServeError> {
        let failed = |error| ServeError::Listen { at: path.display().to_string(), error };
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(there) if !there.file_type().is_socket() => return Err(ServeError::NoSocket(path)),
            Ok(_) => match UnixStream::connect(&path).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(&path).map_err(failed)?,
                Err(error) => return Err(failed(error)),
                Ok(_) => return Err(ServeError::SocketInUse(path)),
            },
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        // Whoever connects before this is known by their user id, as everybody is.
        let made = fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).and_then(|()| inode(&path));
        let inode = made.map_err(failed)?;
        Ok(Self { listener, path, inode })
    }
}

fn inode(path: &PathBuf) -> io::Result<u64> {
    Ok(fs::symlink_metadata(path)?.ino())
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another host may have put its own there in the meantime.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            fs::remove_file(&self.path).ok();
        }
    }
}
