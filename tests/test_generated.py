from scripts.generate_states import TARGET, states_ts


def test_the_pages_states_are_those_of_core():
    assert TARGET.read_text("utf-8") == states_ts(), "run `make generate`"
