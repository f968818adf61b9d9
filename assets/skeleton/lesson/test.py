"""What lesson NN says beside its exercises."""

from peft_teach.course import lessons


def test_the_picture_says_what_each_rank_saves():
    made = lessons.pictures("NAME").draw_saved([1, 8], [100, -3])
    assert made.get_label() == "Numbers saved by rank. 1: 100; 8: -3"
    line = made.axes[0].lines[-1]
    assert [*line.get_ydata()] == [100, -3]
