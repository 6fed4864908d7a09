//! Signs of the page's legends.

use maud::{Markup, html};

use super::theme::Ink;

/// A sign of a legend.
fn sign(shape: &Markup) -> Markup {
    html! { svg viewBox="0 0 30 14" aria-hidden="true" { (shape) } }
}

pub(super) fn dot(ink: Ink) -> Markup {
    sign(&html! { circle cx="15" cy="7" r="5" class=(ink.class()) {} })
}

pub(super) fn ring(ink: Ink) -> Markup {
    sign(&html! { circle cx="15" cy="7" r="6" fill="none" class=(ink.line_class()) {} })
}

pub(super) fn tick(ink: Ink) -> Markup {
    sign(&html! { rect x="14" y="0" width="3" height="14" class=(ink.class()) {} })
}

pub(super) fn dashes(ink: Ink) -> Markup {
    sign(&html! { line x1="0" y1="7" x2="30" y2="7" class=(ink.line_class()) {} })
}

pub(super) fn line(ink: Ink, is_thick: bool) -> Markup {
    let thickness = if is_thick { "3.5" } else { "2" };
    sign(&html! { line x1="0" y1="7" x2="30" y2="7" stroke-width=(thickness) class=(ink.line_class()) {} })
}
