//! One file, written whole or not at all, through the runtime's own file I/O.
//!
//! A task on the writer's executor does the jobs in order: it makes `FILE.tmp` beside the file,
//! adds to it, syncs it, renames it to `FILE` and syncs the directory. Whatever fails, and whenever
//! the process ends, `FILE` is what it was before or what it is to be. The task waits and the shard
//! goes on; the shard hands over no more than the blocks that it has ordered.
//!
//! Every few megabytes are synced and dropped from the page cache, so that a snapshot of the whole
//! memory does not count as much memory again against the limit of a container.

use crate::{
    clock::Clock,
    shard::{Done, Job},
    snapshot::Failure,
};
use glommio::{
    GlommioError, Task,
    channels::local_channel::{self, LocalReceiver, LocalSender},
    io::{BufferedFile, Directory, OpenOptions},
};
use rustix::fs::{Advice, fadvise};
use std::{
    cell::RefCell,
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

/// Bytes that may lie in the page cache before they are synced.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// Values are nobody else's business.
const MODE: u32 = 0o600;

/// The way to the task that writes.
pub struct Disk {
    jobs: LocalSender<Job>,
    done: Rc<RefCell<VecDeque<Done>>>,
    task: Task<()>,
}

impl Disk {
    /// Starts the task, inside an executor. `wake` is called when there is something in
    /// [`Disk::take_done`].
    pub fn start(file: PathBuf, wake: impl Fn() + 'static) -> Self {
        let (jobs, incoming) = local_channel::new_unbounded();
        let done = Rc::new(RefCell::new(VecDeque::new()));
        let outbox = done.clone();
        let tell = move |what| {
            outbox.borrow_mut().push_back(what);
            wake();
        };
        let task = glommio::spawn_local(work(file, incoming, tell));
        Self { jobs, done, task }
    }

    pub fn submit(&self, job: Job) {
        self.jobs.try_send(job).expect("the task takes jobs for as long as we live");
    }

    #[must_use]
    pub fn take_done(&self) -> Option<Done> {
        self.done.borrow_mut().pop_front()
    }

    /// Waits until the jobs are done. What was not committed is removed.
    pub async fn close(self) {
        drop(self.jobs);
        self.task.await;
    }
}

async fn work(target: PathBuf, jobs: LocalReceiver<Job>, tell: impl Fn(Done)) {
    let mut draft: Option<Draft> = None;
    while let Some(job) = jobs.recv().await {
        let outcome = match (job, draft.take()) {
            (Job::Create, _) => Draft::create(&target).await.map(|new| {
                draft = Some(new);
                Done::Created { wall_ms: Clock::wall_millis() }
            }),
            (Job::Write(bytes), Some(mut open)) => {
                let written = open.write(bytes).await;
                draft = Some(open);
                written.map(|()| Done::Written)
            }
            (Job::Commit, Some(mut open)) => match open.commit(&target).await {
                Ok(()) => Ok(Done::Committed { wall_ms: Clock::wall_millis() }),
                Err(failure) => {
                    draft = Some(open);
                    Err(failure)
                }
            },
            // Its file is given up already.
            (Job::Write(_) | Job::Commit, None) => continue,
        };
        let outcome = match outcome {
            Ok(done) => done,
            Err(failure) => {
                if let Some(open) = draft.take() {
                    open.discard().await;
                }
                Done::Failed(failure)
            }
        };
        tell(outcome);
    }
    if let Some(open) = draft {
        open.discard().await;
    }
}

/// The file while it is written.
struct Draft {
    file: BufferedFile,
    path: PathBuf,
    /// The same file, for advice to the page cache.
    cache: fs::File,
    bytes: u64,
    synced: u64,
}

impl Draft {
    async fn create(target: &Path) -> Result<Self, Failure> {
        let path = draft_path(target);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE);
        let opened = options.buffered_open(&path).await;
        let file = opened.map_err(|error| failure("create", &path, error))?;
        let cache = fs::File::open(&path).map_err(|error| failure("open", &path, error.into()))?;
        Ok(Self { file, path, cache, bytes: 0, synced: 0 })
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let length = bytes.len();
        let written = self.file.write_at(bytes, self.bytes).await;
        let written = written.map_err(|error| failure("write to", &self.path, error))?;
        if written < length {
            // As much as there was room for; to write the rest would say so.
            let error = io::Error::from(io::ErrorKind::StorageFull);
            return Err(failure("write to", &self.path, error.into()));
        }
        self.bytes += length as u64;
        if self.bytes - self.synced >= UNSYNCED_BYTES_MAX {
            self.sync().await?;
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Failure> {
        let synced = self.file.fdatasync().await;
        synced.map_err(|error| failure("sync", &self.path, error))?;
        self.synced = self.bytes;
        // It is advice.
        let _taken = fadvise(&self.cache, 0, None, Advice::DontNeed).is_ok();
        Ok(())
    }

    async fn commit(&mut self, target: &Path) -> Result<(), Failure> {
        self.sync().await?;
        let renamed = self.file.rename(target).await;
        renamed.map_err(|error| failure("rename to", target, error))?;
        let directory = directory(target);
        let synced = async {
            let open = Directory::open(directory).await?;
            open.sync().await?;
            open.close().await
        };
        synced.await.map_err(|error| failure("sync", directory, error))
    }

    /// Removes the file. Where even that fails it is in nobody's way: the next one begins with it.
    async fn discard(self) {
        drop(self.file.remove().await);
        drop(self.file.close().await);
    }
}

/// Where a file is written before it is whole.
#[must_use]
pub fn draft_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// The directory of a file.
#[must_use]
pub fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => file,
    }
}

fn failure(what: &str, path: &Path, error: GlommioError<()>) -> Failure {
    let error = match error {
        GlommioError::IoError(error) | GlommioError::EnhancedIoError { source: error, .. } => error,
        other => io::Error::from(other),
    };
    let full =
        [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    let is_full = full.contains(&error.kind());
    Failure { reason: format!("cannot {what} {}: {error}", path.display()), is_full }
}
