//! docs/config.md as a manual page, so that the two can't say different things. It knows as much Markdown as that document has.
use std::fmt::Write as _;

/// rekeyd.toml(5), from the document.
pub(super) fn config_page(document: &str) -> String {
    let mut page = String::from(
        ".TH REKEYD.TOML 5 \"\" rekeyd \"\"\n.SH NAME\nrekeyd.toml \\- the config of rekeyd\n.SH DESCRIPTION\n",
    );
    let mut lines = document.lines().filter(|it| !it.starts_with("# ")).peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            let _ = writeln!(page, ".SH {}", heading(title));
        } else if let Some(title) = line.strip_prefix("### ") {
            let _ = writeln!(page, ".SS {}", heading(title));
        } else if line.starts_with("```") {
            page.push_str(".PP\n.RS 4\n.nf\n");
            for code in lines.by_ref().take_while(|it| !it.starts_with("```")) {
                let _ = writeln!(page, "{}", guarded(&escaped(code)));
            }
            page.push_str(".fi\n.RE\n");
        } else if line.starts_with('|') {
            let head = cells(line);
            // What is under the head of a table.
            lines.next_if(|it| it.starts_with("|-"));
            while let Some(row) = lines.next_if(|it| it.starts_with('|')) {
                page.push_str(&entry(&head, &cells(row)));
            }
        } else if let Some(item) = line.trim_start().strip_prefix("- ") {
            let _ = writeln!(page, ".IP \\(bu 2\n{}", guarded(&inline(item)));
        } else if line.is_empty() {
            page.push_str(".PP\n");
        } else {
            let _ = writeln!(page, "{}", guarded(&inline(line.trim_start())));
        }
    }
    page.push_str(".SH SEE ALSO\n.BR rekeyd (1),\n.BR rekeyd-check (1)\n");
    page
}

/// A row of a table: what it is about, then the other columns, the default by its name.
fn entry(head: &[String], row: &[String]) -> String {
    let named = |(head, cell): (&String, &String)| match head.as_str() {
        "Default" => format!("Default: {}.", inline(cell)),
        _ => inline(cell),
    };
    let rest: Vec<_> = head.iter().zip(row).skip(1).filter(|it| !it.1.is_empty()).map(named).collect();
    let first = row.first().map(|it| inline(it)).unwrap_or_default();
    format!(".TP\n{}\n{}\n", guarded(&first), guarded(&rest.join(" ")))
}

/// The cells of a row. A bar within code is no border.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut code = false;
    for part in row.trim().trim_start_matches('|').trim_end_matches('|').chars() {
        code ^= part == '`';
        match cells.last_mut() {
            Some(_) if part == '|' && !code => cells.push(String::new()),
            Some(cell) => cell.push(part),
            None => {}
        }
    }
    cells.iter().map(|it| it.trim().replace("\\|", "|")).collect()
}

fn heading(title: &str) -> String {
    format!("\"{}\"", escaped(&title.replace('`', "")).replace('"', "\\(dq"))
}

/// Code and what is emphasised in bold, links by their text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (nth, part) in text.split('`').enumerate() {
        if nth % 2 == 1 {
            let _ = write!(out, "\\fB{}\\fR", escaped(part));
            continue;
        }
        for (nth, part) in without_links(part).split("**").enumerate() {
            let part = escaped(part);
            out.push_str(&if nth % 2 == 1 { format!("\\fI{part}\\fR") } else { part });
        }
    }
    out
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (before, shown) = before.rsplit_once('[').unwrap_or((before, ""));
        out = out + before + shown;
        rest = after.split_once(')').map_or("", |it| it.1);
    }
    out + rest
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...").replace(['“', '”'], "\"")
}

/// A line that begins with a dot or an apostrophe would be an order to the formatter.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: &str) {
        let page = config_page(document);
        assert!(page.contains(expected), "{page}");
    }

    #[test]
    fn a_field_stands_with_its_default_and_its_meaning() {
        let table =
            "| Field | Default | Meaning |\n|---|---|---|\n| `a` | `1` | What *it* is: `x|y`, see [there](b). |\n";
        check(table, ".TP\n\\fBa\\fR\nDefault: \\fB1\\fR. What *it* is: \\fBx|y\\fR, see there.\n");
    }

    #[test]
    fn headings_code_lists_and_what_looks_like_an_order_are_kept() {
        check("## `[daemon]`\n", ".SH \"[daemon]\"\n");
        check("```toml\n.a = '\\n'\n```\nafter\n", ".nf\n\\&.a = '\\en'\n.fi\n.RE\nafter\n");
        check("- **one** two\n", ".IP \\(bu 2\n\\fIone\\fR two\n");
        check(".conf\n", "\\&.conf\n");
    }

    #[test]
    fn every_field_of_the_document_is_on_the_page() {
        let page = config_page(super::super::CONFIG);
        let fields = super::super::CONFIG.lines().filter_map(|it| it.strip_prefix("| `")?.split_once('`'));
        let mut seen = 0;
        for (field, _) in fields {
            assert!(page.contains(&format!("\\fB{}\\fR", escaped(field))), "{field}");
            seen += 1;
        }
        assert!(seen > 100, "{seen}");
    }
}
