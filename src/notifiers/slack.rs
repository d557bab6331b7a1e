//! A letter for an incoming webhook of Slack: blocks in an attachment, whose colour tells the urgency
//! (<https://docs.slack.dev/reference/block-kit/blocks>).
use super::letter::{Letter, colour};
use serde_json::{Value, json};

/// The longest header, in characters.
const HEADER_CHARS: usize = 150;
/// The longest text of a section, in characters.
const TEXT_CHARS: usize = 3_000;
/// The longest field of a section, in characters; Slack's own limit is 2,000.
const FIELD_CHARS: usize = 500;
/// The most fields of a section.
const FIELDS: usize = 10;
/// The most parts of a table that are shown; Slack takes 50 blocks in all.
const PARTS: usize = 8;

/// Renders a letter. What somebody else may have had a hand in stands as plain text, so that it links and mentions nobody.
pub(super) fn render(letter: &Letter) -> Vec<u8> {
    let mut blocks = vec![json!({"type": "header", "text": plain(&letter.title, HEADER_CHARS)})];
    blocks.push(section(&letter.happened));
    blocks.push(section(&letter.means));
    blocks.extend(rows(letter));
    blocks.extend(letter.commands.iter().map(|it| command(it)));
    blocks.extend(letter.next.iter().map(|it| section(&format!("Next: {it}"))));
    let field = |(name, value): &(&str, String)| plain(&format!("{name}: {value}"), FIELD_CHARS);
    let fields: Vec<Value> = letter.facts.iter().take(FIELDS).map(field).collect();
    blocks.push(json!({"type": "section", "fields": fields}));
    let attachment =
        json!({"color": colour(letter.urgency), "fallback": escaped(&letter.subject, TEXT_CHARS), "blocks": blocks});
    json!({"text": escaped(&letter.subject, TEXT_CHARS), "attachments": [attachment]}).to_string().into_bytes()
}

/// The table, as far as there is room: the most urgent stands first, and how much is left out is said.
fn rows(letter: &Letter) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut left = letter.table.iter().map(|it| it.rows.len()).sum::<usize>();
    for part in &letter.table {
        let mut text = cut(&part.title, HEADER_CHARS);
        let mut shown = 0;
        for row in &part.rows {
            let command = row.command.as_ref().map(|it| format!(" \u{2192} {it}")).unwrap_or_default();
            let row = [&row.subject, &row.at, &cut(&row.text, FIELD_CHARS)].map(String::as_str).join("  ");
            let row = cut(&format!("\n\u{2022} {}{command}", row.trim()), 2 * FIELD_CHARS);
            if text.chars().count() + row.chars().count() > TEXT_CHARS {
                break;
            }
            text.push_str(&row);
            shown += 1;
        }
        if blocks.len() >= PARTS {
            break;
        }
        left -= shown;
        blocks.push(section(&text));
    }
    if left > 0 {
        blocks.push(section(&format!("\u{2026} and {left} more: rekeyd history")));
    }
    blocks
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": plain(text, TEXT_CHARS)})
}

/// A command, as it is typed.
fn command(text: &str) -> Value {
    const FENCE: &str = "```";
    let text = escaped(&text.replace('`', "'"), TEXT_CHARS - 2 * FENCE.len());
    json!({"type": "section", "text": {"type": "mrkdwn", "verbatim": true, "text": format!("{FENCE}{text}{FENCE}")}})
}

fn plain(text: &str, most: usize) -> Value {
    json!({"type": "plain_text", "emoji": false, "text": cut(text, most)})
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() > most { text.chars().take(most - 1).chain(['…']).collect() } else { text.to_owned() }
}

/// What Slack's own markup can't take for a link or a mention; cut so that no escape is cut through.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut room = most;
    for it in text.chars() {
        let mut one = [0; 4];
        let it = match it {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => it.encode_utf8(&mut one),
        };
        let chars = it.chars().count();
        if chars >= room {
            out.push('…');
            break;
        }
        room -= chars;
        out.push_str(it);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::letter::hostile;
    use super::*;

    #[test]
    fn a_letter_stays_within_the_limits_of_slack() {
        let body: Value = serde_json::from_slice(&render(&hostile())).unwrap();
        let blocks = body["attachments"][0]["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{}", blocks.len());
        assert!(body["text"].as_str().unwrap().chars().count() <= TEXT_CHARS);
        for block in blocks {
            let text = block["text"]["text"].as_str().unwrap_or_default().chars().count();
            let most = if block["type"] == "header" { HEADER_CHARS } else { TEXT_CHARS };
            assert!(text <= most, "{text}: {block}");
            assert!(block["fields"].as_array().is_none_or(|it| it.len() <= FIELDS));
        }
    }

    #[test]
    fn nobody_is_mentioned_and_nothing_is_linked_by_a_foreign_text() {
        let body: Value = serde_json::from_slice(&render(&hostile())).unwrap();
        assert!(!body["text"].as_str().unwrap().contains("<!channel>"), "{}", body["text"]);
        for block in body["attachments"][0]["blocks"].as_array().unwrap() {
            let marked = block["text"]["type"] == "mrkdwn";
            assert!(!marked || !block["text"]["text"].as_str().unwrap().contains('<'), "{block}");
        }
    }

    #[test]
    fn an_escape_is_never_cut_through() {
        assert_eq!(escaped("a&b", 9), "a&amp;b");
        assert_eq!(escaped("a&b", 6), "a…");
        assert_eq!(escaped("<>", 5), "&lt;…");
    }
}
