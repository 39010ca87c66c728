from scripts.generate_rooms import FILE, WAY, picture, way, written


def test_the_guide_shows_the_rooms_as_they_are():
    text = FILE.read_text("utf-8")
    assert text == written(text), "run `make generate`"


def test_each_room_and_each_module_on_the_way_is_there():
    assert "core_steps --> core_store" in picture()
    assert "core_store --> core_steps" not in picture()
    rows = way().splitlines()[2:]
    assert len(rows) == len(WAY)
    assert all(row.rstrip(" |").endswith((".", ":")) for row in rows), "each module says in a sentence what it does"
