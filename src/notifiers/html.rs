//! A letter as HTML. Mail programs drop style sheets and some turn colours round, so every style stands inline, and no
//! colour is set that needs a light or a dark page behind it.
use super::letter::{Letter, colour};
use super::table::Part;
use std::fmt::Write;

const HEADING: &str = "margin:24px 0 6px;font-size:12px;font-weight:700;letter-spacing:.04em;\
    text-transform:uppercase;opacity:.65";
const COMMAND: &str = "margin:6px 0;padding:10px 12px;border-radius:6px;background:rgba(127,127,127,.16);\
    font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere";
const RULE: &str = "border-top:1px solid rgba(127,127,127,.25)";

/// Renders a letter as a page of its own. Everything in it is escaped.
pub(super) fn render(letter: &Letter) -> String {
    let colour = colour(letter.urgency);
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\">",
    );
    let _ = writeln!(out, "<title>{}</title></head>", escape(&letter.subject));
    let _ = writeln!(
        out,
        "<body style=\"margin:0;padding:20px 16px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,\
         'DejaVu Sans',sans-serif\">\n<div style=\"max-width:600px;margin:0 auto\">\n\
         <div style=\"border-left:6px solid {colour};border-radius:6px;background:rgba(127,127,127,.1);padding:14px 16px\">\n\
         <span style=\"display:inline-block;padding:2px 10px;border-radius:999px;background:{colour};color:#fff;\
         font-size:12px;font-weight:700;letter-spacing:.03em\">{}</span>\n\
         <h1 style=\"margin:8px 0 0;font-size:21px;line-height:1.3;overflow-wrap:anywhere\">{}</h1></div>",
        escape(letter.urgency),
        escape(&letter.title)
    );
    section(&mut out, "What happened", &letter.happened);
    section(&mut out, "What it means", &letter.means);
    letter.table.iter().for_each(|it| part(&mut out, it));
    commands(&mut out, &letter.commands);
    if let Some(next) = &letter.next {
        section(&mut out, "What comes next", next);
    }
    facts(&mut out, &letter.facts);
    out.push_str("</div></body></html>\n");
    out
}

fn section(out: &mut String, title: &str, text: &str) {
    let _ = writeln!(out, "<h2 style=\"{HEADING}\">{}</h2>\n<p style=\"margin:0\">{}</p>", escape(title), escape(text));
}

/// Rows one below the other, each with its moment beside the key and the rest under both: so it fits a phone, too.
fn part(out: &mut String, part: &Part) {
    let _ = writeln!(
        out,
        "<h2 style=\"{HEADING}\"><span style=\"color:{}\">&#9632;</span> {}</h2>\n\
         <table role=\"presentation\" style=\"width:100%;font-size:14px;line-height:1.45;border-collapse:collapse\">",
        colour(part.urgency),
        escape(&part.title)
    );
    for row in &part.rows {
        let command = row.command.as_ref().map(|it| {
            let style =
                "font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;opacity:.8;overflow-wrap:anywhere";
            format!("<br><code style=\"{style}\">{}</code>", escape(it))
        });
        let _ = writeln!(
            out,
            "<tr><td style=\"{RULE};padding:7px 0;overflow-wrap:anywhere\"><b>{}</b> \
             <span style=\"float:right;padding-left:12px;font-size:12px;opacity:.65\">{}</span><br>{}{}</td></tr>",
            escape(&row.subject),
            escape(&row.at),
            escape(&row.text),
            command.unwrap_or_default()
        );
    }
    out.push_str("</table>\n");
}

fn commands(out: &mut String, commands: &[String]) {
    if commands.is_empty() {
        return section(out, "What to do", "Nothing.");
    }
    let _ = writeln!(out, "<h2 style=\"{HEADING}\">What to do</h2>");
    for command in commands {
        let _ = writeln!(out, "<pre style=\"{COMMAND}\">{}</pre>", escape(command));
    }
}

fn facts(out: &mut String, facts: &[(&str, String)]) {
    out.push_str(
        "<table role=\"presentation\" style=\"margin-top:28px;width:100%;font-size:13px;line-height:1.4;\
         border-collapse:collapse\">\n",
    );
    for (name, value) in facts {
        let _ = writeln!(
            out,
            "<tr><td style=\"{RULE};padding:5px 16px 5px 0;opacity:.65;white-space:nowrap;vertical-align:top\">{}</td>\
             <td style=\"{RULE};padding:5px 0;width:100%;overflow-wrap:anywhere\">{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            it => out.push(it),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::table::Row;
    use super::*;

    #[test]
    fn nothing_of_a_letter_becomes_markup() {
        let evil = "<script>alert('x')</script>\"&".to_owned();
        let letter = Letter {
            urgency: "critical",
            subject: evil.clone(),
            title: evil.clone(),
            happened: evil.clone(),
            means: evil.clone(),
            commands: vec![evil.clone()],
            next: Some(evil.clone()),
            facts: vec![("Key", evil.clone())],
            table: vec![Part {
                title: evil.clone(),
                urgency: "info",
                rows: vec![Row { subject: evil.clone(), at: evil.clone(), text: evil.clone(), command: Some(evil) }],
            }],
        };
        let page = render(&letter);
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;").count(), 12);
    }
}
