from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.ui.conftest import Open


def _texts(app: AppTest) -> str:
    return " ".join(str(one.value) for kind in ("markdown", "caption", "info", "error") for one in app.get(kind))


def test_the_least_class_is_there_before_anything_is_pressed(open_page: Open) -> None:
    app = open_page("plan")
    assert not app.error
    assert app.header[0].value
    assert "in the list meet it" in _texts(app)
    assert "no prices" not in _texts(app)
    assert len(app.table) == 2


def test_a_link_asks_the_same_again(open_page: Open) -> None:
    app = open_page("plan", model="Qwen3-8B", least_speed="20", quant="Q5_K_M", runtime="llama.cpp")
    assert app.number_input(key="least_speed").value == 20
    assert "It runs Qwen3-8B Q5_K_M on llama.cpp" in _texts(app).replace("\\", "")


def test_many_users_need_more(open_page: Open) -> None:
    app = open_page("plan", model="Qwen3-8B", least_speed="20")
    before = app.header[0].value
    app.number_input(key="users").set_value(16).run()
    assert not app.exception
    assert "for each of 16 users" in _texts(app)
    assert app.header[0].value != before


def test_a_faster_target_needs_another_class(open_page: Open) -> None:
    app = open_page("plan", model="Qwen3-8B")
    before = app.header[0].value
    app.number_input(key="least_speed").set_value(60.0).run()
    assert not app.exception
    assert app.header[0].value != before


def test_any_model_of_a_quality_is_planned_for(open_page: Open) -> None:
    app = open_page("plan", way="Any model that is good enough", quality="60")
    assert not app.error
    assert "quality of 60" in _texts(app)


def test_out_of_reach_says_the_limit_and_the_nearest(open_page: Open) -> None:
    app = open_page("plan", model="Qwen3-32B", least_speed="5000")
    assert app.header[0].value == "Nothing in the list meets this"
    assert "The limit is decode speed" in _texts(app)


def test_the_order_of_the_classes_gives_its_reasons(open_page: Open) -> None:
    app = open_page("plan", order="true")
    assert "no prices" in _texts(app)
    assert len(app.table[-1].value) == 21


def test_values_in_the_url_that_make_no_sense_do_no_harm(open_page: Open) -> None:
    app = open_page("plan", model="<script>", least_speed="-4", users="many", quant="Q9", quality="nan", steps_from="x")
    assert app.header or app.error
    assert "<script>" not in _texts(app)
