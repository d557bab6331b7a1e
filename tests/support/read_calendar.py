"""Reads an iCalendar on stdin with the package `icalendar`, and prints its events as JSON."""
import json
import sys

import icalendar

calendar = icalendar.Calendar.from_ical(sys.stdin.buffer.read())
assert calendar["VERSION"] == "2.0" and calendar["PRODID"], "a calendar says its version and its maker"
events = []
for event in calendar.walk("VEVENT"):
    assert not event.errors, event.errors
    assert event["DTSTAMP"].dt.utcoffset().total_seconds() == 0
    events.append({
        "uid": str(event["UID"]),
        "start": int(event["DTSTART"].dt.timestamp()),
        "summary": str(event["SUMMARY"]),
        "description": str(event["DESCRIPTION"]),
        "categories": [str(it) for it in event["CATEGORIES"].cats],
    })
print(json.dumps(events))
