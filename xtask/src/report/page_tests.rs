//! Tests of the page.

use super::*;
use crate::report::sample::results;

/// Values of attributes that could fetch something, and of `url()`.
fn references(html: &str) -> Vec<&str> {
    let openings = [" src=\"", " href=\"", "xlink:href=\"", "srcset=\"", "data=\"", "action=\""];
    let attributes =
        openings.iter().flat_map(|opening| html.split(opening).skip(1).filter_map(|rest| rest.split('"').next()));
    attributes.chain(html.split("url(").skip(1).filter_map(|rest| rest.split(')').next())).collect()
}

#[test]
fn nothing_is_fetched() {
    let html = page(&results()).unwrap();
    for reference in references(&html) {
        assert!(reference.starts_with('#') || reference == "data:,", "{reference}");
    }
    for word in ["<script", "@import", "http://", "https://", "<iframe", "<object"] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn text_is_escaped() {
    let html = page(&results()).unwrap();
    assert!(html.contains("two &lt;cores&gt;") && html.contains("seq: &lt;one&gt; reader | &amp; another"));
    for raw in ["<cores>", "<one>", "<learn>"] {
        assert!(!html.contains(raw), "{raw}");
    }
}

#[test]
fn wrong_bytes_and_faster_peers_are_told_above_the_pictures() {
    let mut results = results();
    let html = page(&results).unwrap();
    let picture = html.find("role=\"img\"").unwrap();
    assert!(html[..picture].contains("hare 750 (1.07 ×)") && !html.contains("Wrong bytes"));
    results.rows[1].wrong_bytes = 4096;
    let html = page(&results).unwrap();
    assert!(html.contains("seq by fetch: 4,096 wrong bytes"));
}

#[test]
fn every_picture_has_a_label() {
    let html = page(&results()).unwrap();
    for tag in html.split("<svg").skip(1).filter_map(|rest| rest.split('>').next()) {
        assert!(tag.contains("role=\"img\" aria-label=\"") || tag.contains("aria-hidden=\"true\""), "{tag}");
    }
    assert!(html.contains("<html lang=\"en\">"));
}
