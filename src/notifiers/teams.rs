//! A letter for an incoming webhook of Microsoft Teams: an Adaptive Card
//! (<https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>).
use super::letter::Letter;
use serde_json::{Value, json};

/// The largest message that Teams takes, in bytes.
const MESSAGE_BYTES: usize = 28 * 1024;
/// What of it is kept for what stands around the texts.
const FRAME_BYTES: usize = 1_500;
/// The longest sentence, in bytes. All texts together may double in JSON, and still fit.
const SENTENCE_BYTES: usize = 2_500;
/// How much of the commands is shown, in bytes.
const COMMANDS_BYTES: usize = 3_000;
/// The longest fact, in bytes.
const FACT_BYTES: usize = 250;

/// Renders a letter. All text stands in runs, in which nothing is taken for markup.
pub(super) fn render(letter: &Letter) -> Vec<u8> {
    let mut body = vec![json!({
        "type": "RichTextBlock",
        "inlines": [{"type": "TextRun", "text": cut(&letter.subject, FACT_BYTES), "weight": "Bolder", "size": "Large", "color": colour(letter.urgency)}]
    })];
    body.push(sentence(&letter.happened));
    body.push(sentence(&letter.means));
    let mut room = COMMANDS_BYTES;
    for it in &letter.commands {
        let shown = cut(it, room);
        room = room.saturating_sub(shown.len());
        if !shown.is_empty() {
            body.push(json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": shown, "fontType": "Monospace"}]}));
        }
    }
    body.extend(letter.next.iter().map(|it| sentence(&format!("Next: {it}"))));
    body.extend(letter.facts.iter().map(fact));
    let taken = body.iter().map(|it| it.to_string().len()).sum::<usize>() + FRAME_BYTES;
    let room = MESSAGE_BYTES.saturating_sub(taken);
    // Behind what happened, and what it means.
    body.splice(3..3, rows(letter, room));
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body
    });
    let attachment =
        json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card});
    json!({"type": "message", "summary": cut(&letter.subject, FACT_BYTES), "attachments": [attachment]})
        .to_string()
        .into_bytes()
}

/// The table, as far as there is room: the most urgent stands first, and how much is left out is said.
fn rows(letter: &Letter, mut room: usize) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut left = letter.table.iter().map(|it| it.rows.len()).sum::<usize>();
    let mut push = |blocks: &mut Vec<Value>, block: Value| {
        let bytes = block.to_string().len() + 1;
        let fits = bytes <= room;
        if fits {
            room -= bytes;
            blocks.push(block);
        }
        fits
    };
    'parts: for part in &letter.table {
        let title = json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": cut(&part.title, FACT_BYTES), "weight": "Bolder", "color": colour(part.urgency)}]});
        if !push(&mut blocks, title) {
            break;
        }
        for row in &part.rows {
            let command =
                row.command.as_ref().map(|it| format!(" \u{2192} {}", cut(it, FACT_BYTES))).unwrap_or_default();
            let block = json!({"type": "RichTextBlock", "spacing": "None", "inlines": [
                {"type": "TextRun", "text": format!("{}  ", cut(&row.subject, FACT_BYTES)), "weight": "Bolder", "size": "Small"},
                {"type": "TextRun", "text": format!("{}  ", row.at), "isSubtle": true, "size": "Small"},
                {"type": "TextRun", "text": format!("{}{command}", cut(&row.text, FACT_BYTES)), "size": "Small"}
            ]});
            if !push(&mut blocks, block) {
                break 'parts;
            }
            left -= 1;
        }
    }
    if left > 0 {
        blocks.push(sentence(&format!("\u{2026} and {left} more: rekeyd history")));
    }
    blocks
}

fn sentence(text: &str) -> Value {
    json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": cut(text, SENTENCE_BYTES)}]})
}

fn fact((name, value): &(&str, String)) -> Value {
    json!({"type": "RichTextBlock", "spacing": "None", "inlines": [
        {"type": "TextRun", "text": format!("{name}: "), "isSubtle": true, "size": "Small"},
        {"type": "TextRun", "text": cut(value, FACT_BYTES), "size": "Small"}
    ]})
}

fn colour(urgency: &str) -> &'static str {
    match urgency {
        "critical" => "Attention",
        "warning" => "Warning",
        "resolved" => "Good",
        _ => "Accent",
    }
}

/// At most so many bytes of a text, cut between characters.
fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let at = (0..=most.saturating_sub(MARK.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
    if at == 0 { String::new() } else { format!("{}{MARK}", &text[..at]) }
}

#[cfg(test)]
mod tests {
    use super::super::letter::hostile;
    use super::*;

    #[test]
    fn a_letter_stays_within_the_limit_of_teams() {
        let body = render(&hostile());
        assert!(body.len() < MESSAGE_BYTES, "{}", body.len());
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["attachments"][0]["content"]["type"], "AdaptiveCard");
    }

    #[test]
    fn no_foreign_text_stands_where_markup_counts() {
        let body: Value = serde_json::from_slice(&render(&hostile())).unwrap();
        let blocks = body["attachments"][0]["content"]["body"].as_array().unwrap();
        assert!(blocks.iter().all(|it| it["type"] == "RichTextBlock"), "{blocks:?}");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("größe", 7), "größe");
        assert_eq!(cut("größer", 6), "gr…");
        assert_eq!(cut("ö", 1), "");
    }
}
