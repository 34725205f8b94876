//! The terminal while `top` has it: another screen, no cursor, keys without Enter. It is given back as it was.

use std::io::{Read as _, stdin};

use anyhow::Result;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::frame::Frame;
use crate::cli::streams::{is_coloured, print, size};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Terminals that know these draw what is between them at once.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";
const END_OF_LINE: &str = "\x1b[K\r\n";
/// Where a terminal does not say how large it is.
const USUAL: (usize, usize) = (80, 24);
/// What a special character is set to that there is not to be.
const DISABLED: u8 = 0;

/// Given back when it is dropped.
pub(super) struct Screen {
    saved: Option<Termios>,
    /// Where nobody reads keys, their channel stays open all the same.
    _ends: Sender<()>,
}

impl Screen {
    /// Takes the terminal; gives what tells of the key that ends it.
    pub(super) fn enter() -> Result<(Self, Receiver<()>)> {
        let (ends, keys) = channel(1);
        let screen = Self { saved: tcgetattr(stdin()).ok(), _ends: ends.clone() };
        if let Some(saved) = &screen.saved {
            let mut modes = saved.clone();
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            // Stopped by Ctrl-Z, it would leave the shell without a cursor.
            modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            tcsetattr(stdin(), OptionalActions::Now, &modes)?;
            std::thread::spawn(move || read_keys(&ends));
        }
        print(ENTER)?;
        Ok((screen, keys))
    }

    /// Draws over what was there, so that nothing flickers.
    pub(super) fn draw(frame: &Frame) -> Result<()> {
        let lines = frame.lines(Some(size().unwrap_or(USUAL)), is_coloured());
        print(format!("{BEGIN}{}{END}", lines.join(END_OF_LINE)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing back.
        drop(print(LEAVE));
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(stdin(), OptionalActions::Now, saved);
        }
    }
}

fn read_keys(ends: &Sender<()>) {
    let mut keys = [0; 64];
    loop {
        let read = stdin().read(&mut keys).unwrap_or(0);
        if read == 0 || keys[..read].iter().any(|key| matches!(key, b'q' | b'Q')) {
            // Only the first is waited for.
            let _ = ends.try_send(());
            return;
        }
    }
}
