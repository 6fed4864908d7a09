//! `Screen`: the terminal while `top` has it, and the keys that end it.

use std::io;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};

use crate::failure::{Failure, FailureKind};

/// The alternate screen of the terminal, with keys that come as they are pressed. Restores the terminal when it is
/// dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// # Errors
    /// There is no terminal, or it cannot do this.
    pub(super) fn open() -> Result<Self, Failure> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(failed("use", &error))
            }
        }
    }

    /// # Errors
    /// The terminal cannot be written, perhaps because it is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(draw).map(|_| ()).map_err(|error| failed("write", &error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // In a panic, ratatui's hook has done so before the message was printed. A second time would move the cursor
        // above the message.
        if !std::thread::panicking() {
            restore();
        }
    }
}

fn restore() {
    // A terminal that is gone needs no restoring, and nobody can be told.
    let _ = ratatui::try_restore();
}

/// The failure of doing something to the terminal.
pub(super) fn failed(doing: &str, error: &io::Error) -> Failure {
    let message = format!("Cannot {doing} the terminal: {error}. Print figures instead, with --once or --json.");
    Failure::new(FailureKind::File, message)
}

/// Whether this event ends the view: q, Esc or Ctrl-C, which is no signal while keys come as they are pressed.
pub(super) fn ends(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    match code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        KeyCode::Char('c' | 'C') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_end_it() {
        let key = |code, modifiers| ends(&Event::Key(KeyEvent::new(code, modifiers)));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Enter, KeyModifiers::NONE));
        assert!(!ends(&Event::Resize(1, 1)));
    }
}
