//! Thin, checked wrappers over libc.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::Signal;

/// How a child ended, and what it used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExitReport {
    /// Its process id.
    pub pid: i32,
    /// Its exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// CPU time of it and of the children it waited for, in microseconds.
    pub cpu_us: u64,
    /// The most memory that any one of them held, in bytes.
    pub max_rss_bytes: u64,
}

/// Reaps one child that has ended; `Ok(None)` if none has yet, `ECHILD` if there are no children.
pub fn reap() -> io::Result<Option<ExitReport>> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::uninit());
    // SAFETY: both pointers are to live values of the right types; the kernel fills `usage` when a pid is returned.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => {
            // SAFETY: wait4 returned a pid, so it has filled `usage`.
            let usage = unsafe { usage.assume_init() };
            Ok(Some(report(pid, status, &usage)))
        }
    }
}

fn report(pid: i32, status: i32, usage: &libc::rusage) -> ExitReport {
    let micros = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    ExitReport {
        pid,
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
        max_rss_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
    }
}

/// A signal that a [`signal_fd`] gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SignalInfo {
    /// Its number.
    pub(super) number: i32,
    /// Whether the kernel sent it, as for a key of the terminal, and no process.
    pub(super) from_kernel: bool,
}

/// Blocks these signals in this thread and those it starts, and gives a descriptor that they are read from.
pub(super) fn signal_fd(signals: &[Signal]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that the other calls read.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    // SAFETY: a descriptor that signalfd has just made is owned by nobody else.
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

/// The next signal of a [`signal_fd`], if there is one.
pub(super) fn next_signal(signals: &OwnedFd) -> Option<SignalInfo> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(signals, &mut info).ok()?;
    // `ssi_signo` is the first field of four bytes, `ssi_code` the third.
    let field = |at: usize| i32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let whole = count == info.len();
    whole.then(|| SignalInfo { number: field(0), from_kernel: field(8) == libc::SI_KERNEL })
}

/// Takes over the descriptor of this number that a parent has passed on. Each number is to be taken once.
pub fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD only asks whether the descriptor is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::other(format!(
            "descriptor {number} is not open: only the server starts this"
        )));
    }
    // SAFETY: it is open, and by the contract above nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes this process ignore the signals that ask a process to end; only `SIGKILL` ends it then.
pub fn ignore_termination() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives the child of `command` these descriptors as 3, 4 …
pub fn pass_fds(command: &mut Command, fds: Vec<OwnedFd>) {
    let hook = move || {
        // First out of the way of the targets, as a source may have the number of a later target.
        let mut moved = [0; 8];
        let above = 3 + fds.len() as RawFd;
        for (fd, moved) in fds.iter().zip(&mut moved) {
            *moved = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) })?;
        }
        for (target, fd) in (3..).zip(&moved[..fds.len()]) {
            checked(unsafe { libc::dup2(*fd, target) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the hook calls only fcntl and dup2, which are async-signal-safe.
    unsafe { command.pre_exec(hook) };
}

/// Has the worker that `command` starts die with its parent, which must be `parent`, and be ended by signals as
/// any program is.
pub fn before_worker_exec(command: &mut Command, parent: u32) {
    let hook = move || {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // The parent may have died before the death signal was asked for.
        if unsafe { libc::getppid() } as u32 == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: between fork and exec the hook calls only signal, prctl and getppid, which are async-signal-safe.
    unsafe { command.pre_exec(hook) };
    unblock_signals(command);
}

/// Has what `command` starts hear all signals: those that are blocked here would stay so across an exec.
pub fn unblock_signals(command: &mut Command) {
    let hook = || {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set that the other call reads.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the hook calls only sigemptyset and sigprocmask, which are async-signal-safe.
    unsafe { command.pre_exec(hook) };
}

fn checked(result: RawFd) -> io::Result<RawFd> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The CPU time that process `pid` has used in all its threads, in nanoseconds; `None` once it has ended.
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let (mut clock, mut time) = (0, MaybeUninit::<libc::timespec>::uninit());
    // SAFETY: both pointers are to live values; `time` is read only when clock_gettime has filled it.
    unsafe {
        if libc::clock_getcpuclockid(pid as i32, &raw mut clock) != 0
            || libc::clock_gettime(clock, time.as_mut_ptr()) != 0
        {
            return None;
        }
        let time = time.assume_init();
        Some(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_clock_of_this_process_moves() {
        let before = process_cpu_ns(std::process::id()).unwrap();
        (0..1_000_000_u64).for_each(|n| {
            std::hint::black_box(n);
        });
        assert!(process_cpu_ns(std::process::id()).unwrap() > before);
        // Linux gives no process a number above 2^22.
        assert_eq!(process_cpu_ns((1 << 22) + 1), None);
    }
}
