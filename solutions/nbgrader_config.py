"""nbgrader on this course: copy to the top of a course folder as `nbgrader_config.py`.

    cp lessons/07_lora.ipynb COURSE/source/lora/         nbgrader generate_assignment lora
    submitted/STUDENT/lora/07_lora.ipynb                 nbgrader autograde lora
                                                         nbgrader generate_feedback lora

The students' notebooks are the source as they are: cells, points and locks stand in their metadata.
Here `run` and `judge` share the students' kernel, so a mark is as honest as the student; use
`peft-teach grade` where that is not enough.
"""

import os

from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions
from nbgrader.utils import is_solution

c = get_config()  # noqa: F821 (nbgrader gives it)

# A lesson trains; while grading, a few steps are enough. The kernels inherit this.
os.environ["PEFT_TEACH_BUDGET"] = "smoke"
os.environ.setdefault("HF_HUB_OFFLINE", "1")    # after `peft-teach fetch`
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The first cell with a model takes longer than nbgrader's 30 seconds on a slow machine.
c.ExecutePreprocessor.timeout = 300
c.ExecutePreprocessor.startup_timeout = 120
c.ExecutePreprocessor.iopub_timeout = 30


class Regions(ClearSolutions):
    """Clears the solution regions of cells of your own, and leaves the course's stubs as they are.

    nbgrader itself would empty each cell that has no region.
    """

    def _replace_solution_region(self, cell, language):
        return super()._replace_solution_region(cell, language) or is_solution(cell)


c.GenerateAssignment.preprocessors = [
    Regions if each is ClearSolutions else each
    for each in GenerateAssignment.class_traits()["preprocessors"].default()]
c.ClearSolutions.code_stub = {"python": "raise pt.NotAttempted()"}
c.ClearSolutions.begin_solution_delimeter = "BEGIN SOLUTION"
c.ClearSolutions.end_solution_delimeter = "END SOLUTION"
c.ClearSolutions.enforce_metadata = True

c.CourseDirectory.course_id = "peft-teach"
