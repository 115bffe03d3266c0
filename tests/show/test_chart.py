"""The chart of characters: points at their places, labels at powers of ten, nothing outside."""

from __future__ import annotations

from harness.show.chart import bar, curves, divided, timeline


def drawn(series: dict[str, list[tuple[float, float]]]) -> list[str]:
    return curves(
        series, x_words=lambda x: f"{x:g}", y_words=lambda y: f"{y:g} ns", x_title="messages", width=31, height=5
    )


def test_a_line_in_logarithms_is_straight() -> None:
    """Powers of ten lie on the diagonal, lowest left below, highest right above."""
    lines = drawn({"tail": [(10, 10), (100, 100), (1000, 1000)]})

    assert [line.partition("┤")[2].find("o") for line in lines[:5] if "o" in line] == [30, 15, 0]


def test_labels_stand_at_powers_of_ten() -> None:
    """Each power of ten within the axis has its label, and the axis its title."""
    lines = drawn({"tail": [(10, 10), (1000, 1000)]})

    assert [line.split("┤")[0].strip() for line in lines if "┤" in line] == ["1000 ns", "100 ns", "10 ns"]
    assert lines[-2].split() == ["10", "100", "1000", "messages"]
    assert lines[-1].split() == ["o", "tail"]


def test_series_have_marks_of_their_own_and_a_legend() -> None:
    """The second series is drawn with x."""
    lines = drawn({"tail": [(10, 10), (100, 100)], "any": [(10, 50), (100, 50)]})

    assert sum(line.count("x") for line in lines[:5]) == 2
    assert lines[-1].split() == ["o", "tail", "x", "any"]


def test_equal_values_are_drawn_in_the_middle() -> None:
    """One value alone makes no axis of width 0."""
    assert "o" in "".join(drawn({"one": [(100, 100)]})[:5])


def test_what_has_no_logarithm_is_left_out() -> None:
    """Points at 0 are not drawn, and without any other there is no picture."""
    assert drawn({"tail": [(0, 10), (10, 0)]}) == []


def test_no_line_is_wider_than_the_axis() -> None:
    """Labels at the right end do not stick out."""
    lines = drawn({"tail": [(1, 1), (123_456, 5)]})

    assert max(map(len, lines[:-3])) <= 31 + len("10 ns ┤")


def test_a_bar_is_as_long_as_its_share() -> None:
    """Eighths of a character; less than nothing and more than all are cut."""
    assert [bar(share, 4) for share in (0, 0.5, 1, -1, 2)] == ["", "██", "████", "", "████"]
    assert bar(1 / 32, 4) == "▏"


def over_time(series: dict[str, list[tuple[float, float]]]) -> list[str]:
    return timeline(series, x_words=lambda x: f"{x:g}", y_words=lambda y: f"{y:g} ms", x_title="s", width=31, height=5)


def test_over_time_a_line_is_straight() -> None:
    """On linear axes from 0 equal steps are equally far apart, and 0 stands at the left below."""
    lines = over_time({"wait": [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)]})

    assert [line[7:].find("o") for line in lines[:5]] == [30, 22, 15, 8, 0]


def test_over_time_labels_stand_at_round_values() -> None:
    """Both axes have labels from 0 on at round values, few enough to stand apart."""
    lines = over_time({"wait": [(0, 0), (2.9, 900)]})

    assert [line.split("┤")[0].strip() for line in lines if "┤" in line] == ["500 ms", "0 ms"]
    assert lines[-2].split() == ["0", "0.5", "1", "1.5", "2", "2.5", "s"]
    assert lines[-1].split() == ["o", "wait"]


def test_over_time_nothing_but_zeros_can_be_drawn() -> None:
    """Values that are all 0 stand on the lowest row; without values there is no picture."""
    assert "o" in over_time({"wait": [(0, 0), (1, 0)]})[4]
    assert over_time({"wait": []}) == []


def test_a_divided_line_gives_each_its_part() -> None:
    """The parts fill the line, rounded to the largest remainders; marks are used again when there are more shares."""
    assert divided([0.5, 0.25, 0.25], "ABC", 8) == "AAAABBCC"
    assert divided([0.61, 0.13, 0.13, 0.13], "ABCD", 40) == "A" * 25 + "BBBBBCCCCCDDDDD"
    assert divided([1, 1, 1], "AB", 9) == "AAABBBAAA"
    assert divided([0.46, 0.54], "AB", 5) == "AABBB"
    assert divided([1, 0], "AB", 4) == "AAAA"
