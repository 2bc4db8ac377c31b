"""What each alarm means and what to do, in a few sentences: for who stands before it at night.

The longer text, with how it was tried, is in `docs/operating.md` under the alarm's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicom_node.monitoring.alarms import AlarmKind


@dataclass(frozen=True, slots=True)
class Remedy:
    """One alarm for a person.

    title: its name in words.
    meaning: what is the matter, and what it costs.
    steps: what to do, in this order.
    """

    title: str
    meaning: str
    steps: tuple[str, ...]


REMEDIES: Final[Mapping[AlarmKind, Remedy]] = {
    AlarmKind.PROCESS_GONE: Remedy(
        "A process is gone",
        "A part of the node that should run does not. Without the receiver nothing is taken;"
        " without the worker what came waits, and is not lost.",
        (
            "Look whether the service runs: systemctl status msk-node, or the container.",
            (
                "Read the end of its log; a port that is taken or a folder that cannot be"
                " written is named there."
            ),
            "Start it again. It goes on where it was.",
        ),
    ),
    AlarmKind.PROCESS_STUCK: Remedy(
        "A process does not move",
        "A part of the node is there but gives no sign of life: it hangs, is stopped, or waits"
        " for a disk or a database that does not answer.",
        (
            "Frozen by a signal: kill -CONT PID lets it go on; msk-node health has the PID.",
            "Look whether the machine swaps, or a network folder hangs (df, dmesg).",
            "Restart the service. Work that was under way is done again; nothing is doubled.",
            "If it comes back, keep the log and the output of msk-node health --json.",
        ),
    ),
    AlarmKind.DATABASE_UNREACHABLE: Remedy(
        "The database cannot be used",
        "Images are still received and kept; nothing is analysed or sent until it is back.",
        (
            "A server: look whether it runs and takes the node's user.",
            "A file: look whether its disk is full or read-only, and whose the file is.",
            "The node goes on by itself when it is back.",
        ),
    ),
    AlarmKind.DISK_SHORT: Remedy(
        "A disk is short of room",
        "Less is free than is kept free. Senders are answered that there is no room, and"
        " send again later.",
        (
            "See what fills the disk; msk-node status --all says what the node keeps, and why.",
            (
                "Free room or enlarge the disk; retention.images_d deletes images whose results"
                " have arrived."
            ),
            "What was refused is sent again by most senders; look at Devices for who was.",
        ),
    ),
    AlarmKind.QUEUE_OLD: Remedy(
        "Something waits for too long",
        "A complete series, or a delivery that is due, has waited longer than alarms.queue_h.",
        (
            "Look at the processes: without a worker nothing moves.",
            "Look at Work for what is before it; a large batch may just take its time.",
            "More workers or a GPU make it faster: docs/scaling.md.",
        ),
    ),
    AlarmKind.DELIVERY_STALLED: Remedy(
        "A destination has not taken something for long",
        "It was tried so often that it is now tried slowly, until it is taken.",
        (
            "Read the reason; test the destination with its button.",
            "When it is mended, release: it is then sent at once.",
        ),
    ),
    AlarmKind.DELIVERY_HELD: Remedy(
        "Something is held",
        "A destination refused it in a way that time does not mend. It is not sent until"
        " it is released.",
        (
            "Read the reason at the series; mend the destination or its profile.",
            "Release it, or cancel it if nobody wants it.",
        ),
    ),
    AlarmKind.DELIVERY_UNCONFIRMED: Remedy(
        "Sent, and not confirmed in time",
        "The destination took it and has not said that it keeps it. Nothing of it is purged.",
        (
            "Look in the archive whether it is there.",
            "Test the destination: does it offer what it is asked to confirm by?",
            "Send it again if the archive has lost it.",
        ),
    ),
    AlarmKind.DESTINATION_DOWN: Remedy(
        "A destination cannot be reached",
        "What is for it waits, and goes out by itself when it is back.",
        (
            (
                "Test it with its button; the answer says whether it is the network, the port,"
                " the AE title or TLS."
            ),
            "Ask whoever runs it whether they have changed something.",
        ),
    ),
    AlarmKind.CERTIFICATE_EXPIRES: Remedy(
        "A certificate runs out",
        "After its last day connections that need it fail.",
        (
            "Put the new certificate in its place and reload the node.",
            "A destination's own certificate is renewed by whoever runs it.",
        ),
    ),
    AlarmKind.ANALYSES_FAIL: Remedy(
        "Analyses fail one after another",
        "That is rarely the images: the bundle, the memory or the GPU is to be suspected.",
        (
            "Read the reasons under Work, state failed.",
            "msk-node check looks at bundle and device; dmesg at memory.",
            "When it is mended, retry the failed ones: filter, then order.",
        ),
    ),
    AlarmKind.SENDERS_REJECTED: Remedy(
        "Senders are turned away",
        "Somebody calls the node and may not: a new scanner, a changed address or title, or"
        " somebody who has no business here.",
        (
            "See under Devices who, from where and why.",
            "One of yours: name it in [[senders]] and reload.",
            "None of yours: tell whoever looks after the network.",
        ),
    ),
    AlarmKind.ARCHIVE_TROUBLE: Remedy(
        "An archive that is asked makes trouble",
        "It refuses or does not answer; the node waits longer each time before it asks again.",
        (
            "Read the reason under Schedules.",
            "Ask whoever runs it; pause it there if it should be left alone.",
        ),
    ),
    AlarmKind.INCOMING_TROUBLE: Remedy(
        "A series did not come as it was sent",
        "Images are missing, or were refused, and the node does not know that they will come.",
        (
            "Read the reason; it says how many came, and what of them was not kept.",
            "Have the series sent again: what is here already changes nothing.",
        ),
    ),
    AlarmKind.ALARM_UNTOLD: Remedy(
        "An alarm could not be told",
        "The mail server or the webhook that tells of alarms does not take them.",
        (
            "Read the reason; look at the address, the certificate and the password's file.",
            "Until then look here, or at msk-node health.",
        ),
    ),
    AlarmKind.AUDIT_UNWRITTEN: Remedy(
        "The audit trail cannot be written",
        "What happens is kept aside or not recorded; work goes on.",
        (
            "Look at the file's disk and rights, or at the syslog server and its certificate.",
            "It goes on by itself when that is mended.",
        ),
    ),
}
"""Every kind of alarm."""


def remedy_of(kind: AlarmKind) -> Remedy:
    """What to do about an alarm of a kind."""
    return REMEDIES.get(kind) or Remedy(kind.value.replace("-", " "), "", ())
