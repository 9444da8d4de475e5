//! Child processes of Asterisk's that do not hurt it.
//!
//! Invariants:
//! - a child is started by `posix_spawn`, which copies no page of Asterisk's memory: a fork of a process of half a gigabyte
//!   holds up whoever touches a page, and that is a thread with a call;
//! - it gets the descriptors that it is given and no others: Asterisk's sockets do not close on exec, and a child that holds
//!   one would keep its port;
//! - it is in a process group of its own, and the group is killed when the value goes;
//! - while a child lives, Asterisk's handler of SIGCHLD, which reaps every child (`main/asterisk.c`, child_handler), is put
//!   aside as by `System()`, so that the child's end is told to whoever waits for it;
//! - it runs by the ordinary scheduler even where Asterisk runs in real time (`asterisk -p`), and at the priority of the thread
//!   that starts it.

use std::ffi::{CString, OsString, c_char, c_int};
use std::io::{self, PipeReader};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::sys;

/// The lowest priority of the ordinary scheduler.
const NICEST: c_int = 19;
/// `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)` of linux/ioprio.h: served when nobody else wants the disk.
const IDLE: c_int = 3 << 13;
/// `IOPRIO_WHO_PROCESS`; 0 is the calling thread.
const WHO_PROCESS: c_int = 1;
/// Descriptors that other threads open in the microseconds before the child is made.
const MARGIN: c_int = 256;
/// A killed child ends in milliseconds, unless it hangs in the kernel.
const DYING: Duration = Duration::from_millis(500);

/// This thread, which is one of ours and so has left real time (`ast::thread`), and the children that it starts give way to
/// everything else. What the system refuses stays as it is.
pub fn give_way() {
    // SAFETY: both take numbers; on Linux they are about the calling thread alone.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICEST);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE);
    }
}

/// Puts Asterisk's handler of SIGCHLD aside for as long as it lives.
struct Reaper(PhantomData<()>);

impl Reaper {
    fn hold() -> Self {
        // SAFETY: counted by Asterisk under a lock of its own; undone by the drop.
        unsafe { sys::ast_replace_sigchld() };
        Self(PhantomData)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // SAFETY: `hold` was called before, once.
        unsafe { sys::ast_unreplace_sigchld() };
    }
}

/// What `posix_spawn` is told, freed when it goes.
///
/// Invariant: both were initialised.
struct Manner {
    actions: libc::posix_spawn_file_actions_t,
    attributes: libc::posix_spawnattr_t,
}

impl Manner {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: room for both; they are taken as initialised only when that succeeded.
        unsafe {
            done(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            let failed = libc::posix_spawnattr_init(attributes.as_mut_ptr());
            if failed != 0 {
                libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
                return Err(io::Error::from_raw_os_error(failed));
            }
            Ok(Self {
                actions: actions.assume_init(),
                attributes: attributes.assume_init(),
            })
        }
    }

    /// Standard input from there, nothing on the other two, everything else closed.
    fn descriptors(&mut self, input: c_int) -> io::Result<()> {
        // SAFETY: initialised, by the type's invariant; the path is NUL-terminated and copied.
        unsafe {
            let actions = &raw mut self.actions;
            done(libc::posix_spawn_file_actions_adddup2(actions, input, 0))?;
            for output in [1, 2] {
                let nowhere = c"/dev/null".as_ptr();
                done(libc::posix_spawn_file_actions_addopen(
                    actions,
                    output,
                    nowhere,
                    libc::O_WRONLY,
                    0,
                ))?;
            }
            // Every number, and not only those that are taken now: other threads open descriptors meanwhile, which get the
            // lowest that is free. Closing one that is not open is no failure below the limit (glibc,
            // sysdeps/unix/sysv/linux/spawni.c, spawn_do_close).
            for number in 3..=last_descriptor()? {
                done(libc::posix_spawn_file_actions_addclose(actions, number))?;
            }
        }
        Ok(())
    }

    /// A group of its own, no signal blocked or ignored, the ordinary scheduler.
    fn circumstances(&mut self) -> io::Result<()> {
        let flags = libc::POSIX_SPAWN_SETPGROUP
            | libc::POSIX_SPAWN_SETSIGDEF
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSCHEDULER;
        let ordinary = libc::sched_param { sched_priority: 0 };
        let mut none = MaybeUninit::uninit();
        let mut all = MaybeUninit::uninit();
        // SAFETY: initialised, by the type's invariant; the sets are filled before they are read.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            let attributes = &raw mut self.attributes;
            done(libc::posix_spawnattr_setpgroup(attributes, 0))?;
            done(libc::posix_spawnattr_setsigmask(attributes, none.as_ptr()))?;
            done(libc::posix_spawnattr_setsigdefault(attributes, all.as_ptr()))?;
            done(libc::posix_spawnattr_setschedpolicy(
                attributes,
                libc::SCHED_OTHER,
            ))?;
            done(libc::posix_spawnattr_setschedparam(
                attributes,
                &raw const ordinary,
            ))?;
            // The flags fit: they are bits of a short.
            done(libc::posix_spawnattr_setflags(attributes, flags as libc::c_short))
        }
    }
}

impl Drop for Manner {
    fn drop(&mut self) {
        // SAFETY: initialised, by the type's invariant, and never used again.
        unsafe {
            libc::posix_spawn_file_actions_destroy(&raw mut self.actions);
            libc::posix_spawnattr_destroy(&raw mut self.attributes);
        }
    }
}

/// The last descriptor that may be open when the child is made.
fn last_descriptor() -> io::Result<c_int> {
    let mut last = 2;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_string_lossy().parse::<c_int>();
        last = last.max(number.unwrap_or(last));
    }
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: room for one, which is read only when it was written.
    let most = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) {
            0 => c_int::try_from(limit.assume_init().rlim_cur).unwrap_or(c_int::MAX),
            _ => return Err(io::Error::last_os_error()),
        }
    };
    Ok(last.saturating_add(MARGIN).min(most.saturating_sub(1)))
}

fn done(error: c_int) -> io::Result<()> {
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

fn pointers(words: &[CString]) -> Vec<*mut c_char> {
    let pointers = words.iter().map(|word| word.as_ptr().cast_mut());
    pointers.chain([std::ptr::null_mut()]).collect()
}

/// A child process. Dropping it kills it and its children.
pub struct Child {
    pid: libc::pid_t,
    status: Option<ExitStatus>,
    #[expect(dead_code, reason = "held for its Drop, which comes after ours")]
    reaper: Reaper,
}

impl Child {
    /// Starts a program: its whole path, its arguments, its environment as `NAME=value`, and what it reads.
    ///
    /// # Errors
    /// When the system cannot start it.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        environment: &[&str],
        input: &PipeReader,
    ) -> io::Result<Self> {
        let path = CString::new(program.as_os_str().as_bytes())?;
        let mut words = vec![path.clone()];
        for argument in arguments {
            words.push(CString::new(argument.as_bytes())?);
        }
        let environment = environment
            .iter()
            .map(|setting| CString::new(*setting))
            .collect::<Result<Vec<_>, _>>()?;
        let mut manner = Manner::new()?;
        manner.descriptors(input.as_raw_fd())?;
        manner.circumstances()?;
        let (words, settings) = (pointers(&words), pointers(&environment));
        let reaper = Reaper::hold();
        let mut pid = 0;
        // SAFETY: NUL-terminated strings and lists that end with a null, all of which live until it returns; `manner` is
        // initialised.
        done(unsafe {
            libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                &raw const manner.actions,
                &raw const manner.attributes,
                words.as_ptr(),
                settings.as_ptr(),
            )
        })?;
        Ok(Self {
            pid,
            status: None,
            reaper,
        })
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: a child of ours that was not waited for yet, because there is no status of it.
            match unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } {
                0 => {}
                -1 => return Err(io::Error::last_os_error()),
                _ => self.status = Some(ExitStatus::from_raw(status)),
            }
        }
        Ok(self.status)
    }

    /// Kills it and its children, and waits a moment for its end.
    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        // SAFETY: its group, which is its own; the number is taken for as long as nobody has waited for it.
        unsafe { libc::kill(-self.pid, libc::SIGKILL) };
        let until = Instant::now() + DYING;
        while matches!(self.ended(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
