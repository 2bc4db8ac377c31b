"""Messages out of their parts: a C-STORE is taken as it comes, others when they are whole.

A message is a command, in one part or several, and for some commands a dataset (PS3.7 6.3,
PS3.8 Annex E). There is one at a time: the next command is read when the last is answered,
so a peer that does not wait for its answers fills its own connection and nothing here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from dicom_node.network.limits import MAX_COMMAND_BYTES, MAX_MESSAGE_S, LimitError
from dicom_node.receiving.command_sets import (
    C_STORE_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    NO_DATASET,
    StoreRequest,
    number_in,
    read_command,
    store_request,
    store_response,
)
from dicom_node.receiving.pdus import COMMAND, LAST, DataValue, values_in
from dicom_node.spool.refusals import Why

MAX_DATASET_BYTES: Final = 1 << 24
"""No dataset of another message than a C-STORE is longer: a report on 100,000 instances."""


class TooLargeObjectError(LimitError):
    """An object that is larger than allowed."""


class DatasetSink(Protocol):
    """Whoever takes the dataset of a C-STORE."""

    def write(self, part: memoryview) -> None:
        """Take the next part."""

    def finish(self) -> int:
        """Take it as whole; answers the status."""

    def give_up(self) -> None:
        """Forget what was taken and is not kept."""

    def refuse(self, why: Why) -> None:
        """Remember that the rest is not wanted, and forget what was taken."""

    def about(self) -> dict[str, str]:
        """The object and its sender, for the log."""


@dataclass(frozen=True, slots=True)
class Service:
    """The handlers of messages.

    begin: takes a C-STORE-RQ on a presentation context; ValueError: not on this one.
    answer: sends a command on a presentation context.
    serve: takes any other message, given as context, command and dataset.
    max_object_bytes: a larger object ends the association.
    """

    begin: Callable[[int, StoreRequest], DatasetSink]
    answer: Callable[[int, bytes], None]
    serve: Callable[[int, bytes, bytes | None], None]
    max_object_bytes: int


class Messages:
    """Gathers the messages of one association, and has each served at its end."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._command = bytearray()
        self._open: _Store | _Other | None = None
        self._since_s: float | None = None

    def take(self, body: memoryview) -> None:
        """Take the body of a P-DATA-TF.

        Raises:
            LimitError: it is too much, or takes too long.
            ValueError: it makes no message.
        """
        for value in values_in(body):
            self._check_time()
            if value.control & COMMAND:
                self._take_command(value)
            else:
                self._take_dataset(value)

    def give_up(self) -> bool:
        """Forget a message that will not be whole; answers whether there was one."""
        unfinished = self._since_s is not None
        if self._open is not None:
            self._open.give_up()
        self._open = None
        return unfinished

    def refuse(self, why: Why) -> dict[str, str]:
        """Refuse the object that is coming, if one is; answers what it is, for the log."""
        message, self._open = self._open, None
        return {} if message is None else message.refuse(why)

    def _check_time(self) -> None:
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s > MAX_MESSAGE_S:
            raise LimitError(f"a message that took longer than {MAX_MESSAGE_S:g} s")

    def _take_command(self, value: DataValue) -> None:
        if self._open is not None:
            raise ValueError("a command amid a dataset")
        self._command += value.part
        if len(self._command) > MAX_COMMAND_BYTES:
            raise LimitError(f"a command set of more than {MAX_COMMAND_BYTES} bytes")
        if value.control & LAST:
            command = bytes(self._command)
            self._command.clear()
            self._begin(value.context_id, command)

    def _begin(self, context_id: int, command: bytes) -> None:
        elements = read_command(command)
        if number_in(elements, COMMAND_FIELD) == C_STORE_RQ:
            request = store_request(elements)
            self._open = _Store(self._service, context_id, request)
        else:
            self._open = _Other(self._service, context_id, command)
        if number_in(elements, COMMAND_DATA_SET_TYPE) == NO_DATASET:
            self._end()

    def _take_dataset(self, value: DataValue) -> None:
        if self._open is None or value.context_id != self._open.context_id:
            raise ValueError("a dataset without its command")
        self._open.write(value.part)
        if value.control & LAST:
            self._end()

    def _end(self) -> None:
        message, self._open, self._since_s = self._open, None, None
        if message is not None:
            message.end()


class _Store:
    """A C-STORE-RQ: its dataset is passed on as it comes."""

    def __init__(self, service: Service, context_id: int, request: StoreRequest) -> None:
        self.context_id = context_id
        self._service, self._request = service, request
        self._came_bytes = 0
        self._sink = service.begin(context_id, request)

    def write(self, part: memoryview) -> None:
        self._came_bytes += len(part)
        if self._came_bytes > self._service.max_object_bytes:
            raise TooLargeObjectError(
                f"an object of more than {self._service.max_object_bytes} bytes"
            )
        self._sink.write(part)

    def end(self) -> None:
        response = store_response(self._request, self._sink.finish())
        self._service.answer(self.context_id, response)

    def give_up(self) -> None:
        self._sink.give_up()

    def refuse(self, why: Why) -> dict[str, str]:
        about = self._sink.about()
        self._sink.refuse(why)
        return about


class _Other:
    """Any other message: short, and served when it is whole."""

    def __init__(self, service: Service, context_id: int, command: bytes) -> None:
        self.context_id = context_id
        self._service, self._command = service, command
        self._dataset: bytearray | None = None

    def write(self, part: memoryview) -> None:
        self._dataset = self._dataset or bytearray()
        self._dataset += part
        if len(self._dataset) > MAX_DATASET_BYTES:
            raise LimitError(f"a dataset of more than {MAX_DATASET_BYTES} bytes")

    def end(self) -> None:
        dataset = None if self._dataset is None else bytes(self._dataset)
        self._service.serve(self.context_id, self._command, dataset)

    def give_up(self) -> None:
        """Nothing but memory is held."""

    def refuse(self, why: Why) -> dict[str, str]:  # noqa: ARG002 - as of a store
        """Nothing is to be remembered of a message that is no object."""
        return {}
