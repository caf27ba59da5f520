//! How a change of the folder is noticed.

use std::{path::Path, sync::mpsc::Sender};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

use super::Wake;

/// How changes are to be noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// By notifications of the kernel where these come, else by polling.
    #[default]
    Auto,
    /// By notifications of the kernel.
    Kernel,
    /// By looking again and again.
    Poll,
}

/// How changes are noticed in fact. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Noticing {
    watcher: Option<RecommendedWatcher>,
    /// Why there are no notifications, if they would have been welcome.
    pub(crate) why_not: Option<String>,
}

impl Noticing {
    pub(crate) fn start(folder: &Path, notice: Notice, wake: &Sender<Wake>) -> Self {
        let polling = |why_not| Self {
            watcher: None,
            why_not,
        };
        match notice {
            Notice::Poll => return polling(None),
            Notice::Auto => {
                if let Some(name) = blind_file_system(folder) {
                    let why = format!("{name} does not tell of changes by other machines");
                    return polling(Some(why));
                }
            }
            Notice::Kernel => {}
        }
        let wake = wake.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error, such as an overflow of the queue, is a reason to look, too.
            if event.is_err() || event.is_ok_and(|event| is_change(event.kind)) {
                // Nobody listens any more when the watch has ended.
                let _ = wake.send(Wake::Changed);
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => Self {
                watcher: Some(watcher),
                why_not: None,
            },
            Err(error) => polling(Some(error.to_string())),
        }
    }

    pub(crate) fn by_kernel(&self) -> bool {
        self.watcher.is_some()
    }
}

/// Looking at a folder is an event, too, and must not lead to the next look.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// The file system of a folder, if it hears nothing of what other machines, or the host of this
/// virtual machine, write there.
fn blind_file_system(folder: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    if let Ok(found) = rustix::fs::statfs(folder) {
        // 32 bits, whatever the type is on this machine.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as above"
        )]
        let magic = found.f_type as u32;
        return blind_magic(magic);
    }
    let _ = folder;
    None
}

/// By the magic numbers of statfs(2) and of the drivers' sources.
fn blind_magic(magic: u32) -> Option<&'static str> {
    const BLIND: [(u32, &str); 13] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x786f_4256, "vboxsf"),
        (0xbacb_acbc, "vmhgfs"),
        (0x7c7c_6673, "prl_fs"),
        (0x6573_5546, "FUSE"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    let found = BLIND.iter().find(|(other, _)| *other == magic);
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind};

    use super::*;

    #[test]
    fn shares_are_polled() {
        assert_eq!(blind_magic(0xff53_4d42), Some("CIFS"));
        assert_eq!(blind_magic(0xef53), None, "ext4");
        assert_eq!(blind_magic(0x0102_1994), None, "tmpfs");
    }

    #[test]
    fn looking_is_no_change() {
        for (kind, expected) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Read)), false),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Read)),
                false,
            ),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                true,
            ),
            (EventKind::Create(CreateKind::File), true),
            (EventKind::Modify(ModifyKind::Any), true),
        ] {
            assert_eq!(is_change(kind), expected, "{kind:?}");
        }
    }
}
