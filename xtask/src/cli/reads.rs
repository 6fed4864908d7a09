//! What the commands that look at objects must show: `cat`, `head`, `ls`, `stat`, `du`, `verify`.

use anyhow::{Result, ensure};

use super::user::CommandUser;
use super::{EMPTY, LARGE, LINES, MIB, OTHER, SPACED, StoredObject, bytes_of};

/// Runs all checks.
pub(super) fn check(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    bytes(user, objects)?;
    first_bytes(user, objects)?;
    listings(user, objects)?;
    comparisons(user, objects)
}

/// `cat`: whole objects, ranges, patterns.
fn bytes(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let large = bytes_of(objects, LARGE)?;
    for (key, bytes) in objects {
        user.run(&["cat", &user.url(key)])?.gives(bytes)?;
    }
    for (range, expected) in [
        ("0-0", &large[..1]),
        ("1048576-9999999", &large[MIB..10_000_000]),
        ("20971500-", &large[20_971_500..]),
        ("-7", &large[20 * MIB..]),
        ("20971526-99999999999", &large[20 * MIB + 6..]),
    ] {
        user.run(&["cat", "--range", range, &user.url(LARGE)])?.gives(expected)?;
    }
    let both = [bytes_of(objects, SPACED)?, bytes_of(objects, OTHER)?].concat();
    user.run(&["cat", &user.url(SPACED), &user.url(OTHER)])?.gives(&both)?;
    user.run(&["cat", "-r", "2-3", &user.url("dir/*")])?.gives(&[&large[2..4], b"ne"].concat())?;
    user.run(&["cat", &user.url("**/a ?")])?.gives(bytes_of(objects, SPACED)?)?;
    for mode in ["none", "fetch", "adaptive", "cached"] {
        user.run(&["cat", "-o", &format!("mode={mode}"), &user.url(LARGE)])?.gives(large)?;
    }
    Ok(())
}

fn first_bytes(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let lines = bytes_of(objects, LINES)?;
    let first = |count| lines.split_inclusive(|byte| *byte == b'\n').take(count).collect::<Vec<_>>().concat();
    let url = user.url(LINES);
    user.run(&["head", &url])?.gives(&first(10))?;
    user.run(&["head", "-n", "3", &url])?.gives(&first(3))?;
    user.run(&["head", "-n", "300", &url])?.gives(lines)?;
    user.run(&["head", "-c", "1000", &user.url(LARGE)])?.gives(&bytes_of(objects, LARGE)?[..1000])?;
    user.run(&["head", "-c", "4", &user.url(EMPTY)])?.gives(b"")
}

/// `ls`, `stat` and `du`.
fn listings(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let shown = |keys: &[&str]| keys.iter().map(|key| user.url(key) + "\n").collect::<String>().into_bytes();
    user.run(&["ls", &user.url("")])?.gives(&shown(&["dir/", EMPTY, OTHER]))?;
    user.run(&["ls", &user.url("dir")])?.gives(&shown(&[LARGE, LINES, "dir/sub/"]))?;
    user.run(&["ls", "-r", &user.url("dir")])?.gives(&shown(&[LARGE, LINES, SPACED]))?;
    user.run(&["ls", &user.url("*/l*")])?.gives(&shown(&[LARGE, LINES]))?;
    let long = user.run(&["ls", "-l", &user.url(LARGE)])?.text()?;
    let size = bytes_of(objects, LARGE)?.len();
    ensure!(long.starts_with(&format!("{size}  20")) && long.trim_end().ends_with(LARGE), "ls -l shows {long}");
    let listed = user.run(&["ls", "--json", "-r", &user.url("")])?.json_lines()?;
    let sizes: Vec<_> = listed.iter().map(|line| line["size"].as_u64().unwrap_or(u64::MAX)).collect();
    let expected: Vec<_> = objects.iter().map(|(_, bytes)| bytes.len() as u64).collect();
    ensure!(sizes == expected, "ls --json shows the sizes {sizes:?}");

    for (key, bytes) in objects {
        let found = user.run(&["stat", "--json", &user.url(key)])?.json()?;
        ensure!(found["size"] == bytes.len() && found["url"] == user.url(key), "stat of {key} shows {found}");
        let pinned = &found["pinned_by"];
        ensure!(pinned == "generation" || pinned == "entity tag", "nothing pins {key}: {found}");
    }
    let text = user.run(&["stat", &user.url(LARGE)])?.text()?;
    ensure!(text.contains("20,971,527 bytes (20 MiB)"), "stat shows {text}");

    let all: usize = objects.iter().map(|(_, bytes)| bytes.len()).sum();
    let sum = user.run(&["du", "-s", "--json", &user.url("")])?.json()?;
    ensure!(sum["objects"] == objects.len() && sum["bytes"] == all, "du shows {sum}, not {all} bytes");
    let usage = user.run(&["du", &user.url("")])?.text()?;
    ensure!(usage.contains(&user.url("dir/")) && usage.contains("5 objects"), "du shows {usage}");
    Ok(())
}

fn comparisons(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    for (key, read) in [(LARGE, &["-q"][..]), (LINES, &[]), (LINES, &["--read"]), (EMPTY, &[]), (EMPTY, &["--read"])] {
        user.write("same", bytes_of(objects, key)?)?;
        let found = user.run(&[&["verify", "--json", &user.url(key), "same"], read].concat())?.json()?;
        ensure!(found["is_same"] == true, "verify of {key} finds a difference: {found}");
    }
    let mut wrong = bytes_of(objects, LARGE)?.to_vec();
    wrong[3 * MIB + 5] ^= 1;
    user.write("differs", &wrong)?;
    let found = user.run(&["verify", "--json", "--read", &user.url(LARGE), "differs"])?;
    ensure!(found.code == 5, "verify of a file that differs ended with {}: {}", found.code, found.stderr);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    ensure!(said.contains(&format!("\"first_difference\":{}", 3 * MIB + 5)), "verify finds {said}");
    // Of the same length.
    user.write("differs", String::from_utf8_lossy(bytes_of(objects, LINES)?).replace('7', "8"))?;
    user.run(&["verify", &user.url(LINES), "differs"])?.fails(5, "differ")
}
