from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from catchment import registry
from catchment.errors import UsageError
from catchment.registry import Adapter, adapter_class, names
from tests.small_adapters import NoAdapter, SmallQueue, SmallStore

pytestmark = pytest.mark.usefixtures("small_adapters")


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package's adapters: one of its own, one that would take our name, one that is none."""
    points = {
        "catchment.queues": ("theirs", "tests.small_adapters:SmallStore"),
        "catchment.archives": ("disk", "tests.small_adapters:SmallQueue"),
        "catchment.warehouses": ("none", "tests.small_adapters:NoAdapter"),
    }

    def entry_points(group: str) -> tuple[EntryPoint, ...]:
        return (EntryPoint(*points[group], group),)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)


def test_every_adapter_of_ours_is_named_once() -> None:
    keys = [(adapter.kind, adapter.name) for adapter in registry.ADAPTERS]
    assert len(keys) == len(set(keys))


def test_ours() -> None:
    assert adapter_class("queue", "sqlite") is SmallQueue
    assert names("warehouse") == ["duckdb", "needy"]


def test_settings_are_in_the_class_or_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.config_type(SmallQueue) is SmallQueue.Config
    monkeypatch.setattr("tests.small_adapters.Config", SmallStore.Config, raising=False)
    assert registry.config_type(NoAdapter) is SmallStore.Config


def test_an_unknown_type_has_its_nearest_spelling() -> None:
    with pytest.raises(UsageError) as caught:
        adapter_class("warehouse", "duckbd")
    assert caught.value.hint == 'type = "duckdb"'


@pytest.mark.usefixtures("third_party")
def test_third_parties_add_theirs() -> None:
    assert names("queue") == ["sqlite", "theirs"]
    assert adapter_class("queue", "theirs") is SmallStore


@pytest.mark.usefixtures("third_party")
def test_nobody_takes_a_name_of_ours() -> None:
    assert names("archive") == ["disk"]
    assert adapter_class("archive", "disk") is SmallStore


@pytest.mark.usefixtures("third_party")
def test_what_is_no_adapter_is_refused() -> None:
    with pytest.raises(UsageError, match=r"tests\.small_adapters:NoAdapter is no adapter"):
        adapter_class("warehouse", "none")


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> Any:
        raise ModuleNotFoundError("No module named 'confluent_kafka'", name="confluent_kafka")

    monkeypatch.setattr(registry, "import_module", missing)
    with pytest.raises(UsageError, match=r"(?s)queue kafka needs the module confluent_kafka.*catchment\[kafka\]"):
        Adapter("queue", "kafka", "catchment.queues.kafka:KafkaQueue", "kafka").load()


def test_a_module_of_ours_that_is_missing_is_no_missing_driver() -> None:
    with pytest.raises(ModuleNotFoundError):
        Adapter("queue", "kafka", "catchment.queues.nothing:Nothing", "kafka").load()
