"""The checks of lesson 02, proven: references pass, and each wrong answer hears its own name."""

import math

import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.exercise import NOT_ATTEMPTED, PASSED, WRONG, examine
from peft_teach.course.lessons import find, of_lesson
from peft_teach.course.lessons.change import exercises as change

IDS = ("change.project", "change.energy", "change.truncate", "change.bitfit")


def test_the_lesson_has_these_exercises():
    assert tuple(e.id for e in of_lesson("02")) == IDS


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(id):
    exercise = find(id)
    for seed in (0, 1, 2):
        assert examine(exercise, exercise.resolve(), exercise.cases(seed)).state == PASSED


@pytest.mark.parametrize("id", IDS)
def test_the_stub_is_not_attempted(id):
    class Stub(pt.Adapter):
        def __init__(self, base):
            super().__init__(base)
            raise pt.NotAttempted(id)

    def stub(*args):
        raise pt.NotAttempted(id)

    result = examine(find(id), Stub if id == "change.bitfit" else stub)
    assert result.state == NOT_ATTEMPTED


@pytest.mark.parametrize("id", IDS)
def test_each_mistake_has_a_message_and_a_wrong_answer_below(id):
    exercise = find(id)
    assert all(exercise.mistakes.values())
    assert len(set(exercise.mistakes.values())) == len(exercise.mistakes)
    proven = {"change.energy": ENERGIES, "change.truncate": TRUNCATIONS,
              "change.project": PROJECTIONS, "change.bitfit": BIASES}[id]
    assert set(proven) == set(exercise.mistakes)
    assert len(proven) >= 4
    assert len(exercise.hints) == 3


def assert_caught(id, wrong, mistake):
    """The mistake is told by its name, whichever random cases the grader takes."""
    for seed in range(4):
        result = examine(find(id), wrong, find(id).cases(seed))
        assert (result.state, result.mistake) == (WRONG, mistake), result
        assert find(id).mistakes[mistake] in result.message


# ── change.energy ────────────────────────────────────────────────────────────────────────────


def count(partial, share=lambda share: share):
    """A count of directions from partial sums of σ, with one thing changed."""
    def directions(sigma, wanted):
        sums = partial(sigma)
        return int((sums < share(wanted) * sums[-1]).sum()) + 1
    return directions


def _reached(sigma, share):
    energy = sigma.square().cumsum(0)
    return energy >= share * energy[-1]


RIGHT_COUNT = count(lambda s: s.square().cumsum(0))
ENERGIES = {
    "no_return": lambda s, share: None,
    "not_whole": lambda s, share: float(RIGHT_COUNT(s, share)),
    "tensor": lambda s, share: _reached(s, share).nonzero()[0] + 1,
    "not_squared": count(lambda s: s.cumsum(0)),
    "one_less": lambda s, share: RIGHT_COUNT(s, share) - 1,
    "one_more": lambda s, share: RIGHT_COUNT(s, share) + 1,
    "norm": count(lambda s: s.square().cumsum(0).sqrt()),
    "smallest_first": count(lambda s: s.flip(0).square().cumsum(0)),
    "the_rest": count(lambda s: s.square().cumsum(0), lambda share: 1 - share),
    "share_of_count": lambda s, share: math.ceil(share * len(s)),
    "past_share": lambda s, share: 1 + sum(
        x <= share * s.square().sum().item() for x in s.square().cumsum(0).tolist()),
    "sum_squared": count(lambda s: s.cumsum(0) ** 2),
    "counted_above": lambda s, share: int(_reached(s, share).sum()),
    "each_alone": lambda s, share: int((s**2 / (s**2).sum() >= share).sum()),
    "no_total": lambda s, share: int((s.square().cumsum(0) < share).sum()) + 1,
}


@pytest.mark.parametrize("mistake", ENERGIES)
def test_wrong_counts(mistake):
    assert_caught("change.energy", ENERGIES[mistake], mistake)


@pytest.mark.parametrize(("mistake", "wrong"), [
    ("tensor", lambda s, share: (~_reached(s, share)).sum() + 1),
    ("past_share", lambda s, share: int(torch.searchsorted(
        s.square().cumsum(0), share * s.square().sum(), right=True)) + 1),
    ("each_alone", lambda s, share: int((s.square() < share * s.square().sum()).sum()) + 1),
    ("no_total", lambda s, share: int(((s / s[0]).cumsum(0) < share).sum()) + 1),
    ("no_total", lambda s, share: int((s.cumsum(0) < share).sum()) + 1),
], ids=["0-dim", "searchsorted", "below", "of the first", "sums of sigma"])
def test_other_ways_to_the_same_wrong_counts(mistake, wrong):
    assert_caught("change.energy", wrong, mistake)


@pytest.mark.parametrize("wrong", [lambda s, share: 1 + int(len(s) > 30), lambda s, share: 8,
                                   lambda s, share: int(share * 10)])
def test_a_wrong_count_is_named_only_if_every_input_agrees(wrong):
    result = examine(find("change.energy"), wrong)
    assert (result.state, result.mistake) == (WRONG, None)
    assert "expected" in result.message


def _loop(sigma, share):
    energy, total = 0.0, sum(s.item()**2 for s in sigma)
    for k, s in enumerate(sigma, start=1):
        energy += s.item()**2
        if energy >= share * total:
            return k


@pytest.mark.parametrize("right", [
    _loop, lambda s, share: sum(not r for r in _reached(s, share).tolist()) + 1,
    lambda s, share: int((s.square().cumsum(0) / s.square().sum() >= share).nonzero()[0]) + 1,
    lambda s, share: int(torch.searchsorted(s.square().cumsum(0), share * s.square().sum())) + 1,
], ids=["loop", "count", "nonzero", "searchsorted"])
def test_right_counts_pass(right):
    for seed in range(4):
        exercise = find("change.energy")
        assert examine(exercise, right, exercise.cases(seed)).state == PASSED


@pytest.mark.parametrize("odd", ["12", [3], True, math.nan, torch.zeros(2), object()])
@pytest.mark.parametrize("id", [id for id in IDS if id != "change.bitfit"])
def test_odd_answers_are_judged(id, odd):
    result = examine(find(id), lambda *given: odd)
    assert result.state == WRONG
    assert "could not be judged" not in result.message


# ── change.truncate ──────────────────────────────────────────────────────────────────────────


def svd(build):
    """A truncation that gets U, σ, Vᵀ and k."""
    def truncate(delta, k):
        return build(*torch.linalg.svd(delta, full_matrices=False), k)
    return truncate


def _in_place(delta, k):
    delta.copy_(RIGHT_CUT(delta, k))
    return delta


def _columns_of_Vt(delta, k):
    """Where the shapes do not fit, torch says so; where they do, the check does."""
    U, sigma, Vt = torch.linalg.svd(delta)
    if delta.shape[1] > delta.shape[0]:
        return RIGHT_CUT(delta, k)
    return (U[:, :k] * sigma[:k]) @ Vt[:, :k].T


def _rows_of_U(delta, k):
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return U[:k].T * sigma[:k] @ Vt[:k] if U.shape[0] == U.shape[1] else RIGHT_CUT(delta, k)


def _added(chosen, start=torch.zeros_like):
    """A sum of rank-1 matrices over chosen(k)."""
    def truncate(delta, k):
        U, sigma, Vt = torch.linalg.svd(delta)
        total = start(delta)
        for i in chosen(k):
            total = total + sigma[i] * torch.outer(U[:, i], Vt[i])
        return total
    return truncate


def _largest_entries(delta, k):
    kept = torch.zeros_like(delta).flatten()
    places = delta.abs().flatten().topk(k).indices
    kept[places] = delta.flatten()[places]
    return kept.view_as(delta)


RIGHT_CUT = svd(lambda U, s, Vt, k: U[:, :k] @ torch.diag(s[:k]) @ Vt[:k])
TRUNCATIONS = {
    "no_return": lambda delta, k: None,
    "input_changed": _in_place,
    "transposed": lambda delta, k: RIGHT_CUT(delta, k).T,
    "wrong_axis": svd(lambda U, s, Vt, k: (U[:k] * s) @ Vt),
    "misfit": svd(lambda U, s, Vt, k: (U[:k] * s[:k]) @ Vt[:k]),
    "shape": svd(lambda U, s, Vt, k: s[:k]),
    "number_at_zero": _added(range, start=lambda delta: 0),
    "entries": _largest_entries,
    "only_the_last": _added(lambda k: range(k - 1, k)),
    "first_missing": _added(lambda k: range(1, k)),
    "unchanged": lambda delta, k: delta,
    "the_rest": lambda delta, k: delta - RIGHT_CUT(delta, k),
    "smallest_kept": svd(lambda U, s, Vt, k: (U * s)[:, len(s) - k:] @ Vt[len(s) - k:]),
    "one_more": lambda delta, k: RIGHT_CUT(delta, k + 1),
    "one_less": lambda delta, k: RIGHT_CUT(delta, max(k - 1, 0)),
    "no_sigma": svd(lambda U, s, Vt, k: U[:, :k] @ Vt[:k]),
    "sigma_squared": svd(lambda U, s, Vt, k: (U[:, :k] * s[:k]) @ (s[:k, None] * Vt[:k])),
    "sigma_rooted": svd(lambda U, s, Vt, k: (U[:, :k] * s[:k].sqrt()) @ Vt[:k]),
    "columns_of_Vt": _columns_of_Vt,
    "rows_of_U": _rows_of_U,
}


@pytest.mark.parametrize("mistake", TRUNCATIONS)
def test_wrong_truncations(mistake):
    assert_caught("change.truncate", TRUNCATIONS[mistake], mistake)


def _zeroed(delta, k):
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    sigma[k:] = 0
    return U @ torch.diag(sigma) @ Vt


@pytest.mark.parametrize("right", [RIGHT_CUT, _zeroed, _added(range), pt.spectra.truncate])
def test_right_truncations_pass(right):
    assert examine(find("change.truncate"), right).state == PASSED


def test_an_error_that_is_not_about_shapes_keeps_its_traceback():
    result = examine(find("change.truncate"), lambda delta, k: delta.no_such_name)
    assert (result.state, result.mistake) == (WRONG, None)
    assert "no_such_name" in result.traceback
    result = examine(find("change.truncate"), lambda delta, k: delta.view(-1, 1000))
    assert "view" in result.traceback


def test_what_is_not_a_tensor_gets_its_article():
    assert "it gave an int." in examine(find("change.truncate"), lambda delta, k: 0).message
    assert "it gave a list." in examine(find("change.truncate"), lambda delta, k: []).message


# ── change.project ───────────────────────────────────────────────────────────────────────────


def projection(move=lambda z, h, sign: sign * z[h], scale=lambda d, D: (d / D) ** 0.5,
               join=lambda theta0, step: theta0 + step):
    """A re-parametrisation, each part of which can be replaced."""
    def project(theta0, z, h, sign):
        return join(theta0, scale(len(z), len(theta0)) * move(z, h, sign))
    return project


def _in_turn(z, h, sign):
    return sign * z.repeat(len(h) // len(z) + 1)[:len(h)]


def _grown(theta0, step):
    theta0 += step.detach()
    return theta0


def _scattered(theta0, z, h, move):
    theta = theta0.clone()
    theta[h] += (len(z) / len(theta0)) ** 0.5 * move
    return theta


def _P(z, h, sign):
    P = torch.zeros(len(h), len(z))
    P[torch.arange(len(h)), h] = sign * (len(z) / len(h)) ** 0.5
    return P


RIGHT_PROJECTION = projection()
PROJECTIONS = {
    "no_return": lambda *given: None,
    "shape": lambda theta0, z, h, sign: z.sum(),
    "theta0_changed": projection(join=_grown),
    "z_ignored": lambda theta0, z, h, sign: theta0,
    "theta0_missing": projection(join=lambda theta0, step: step),
    "no_scale": projection(scale=lambda d, D: 1.0),
    "no_sign": projection(move=lambda z, h, sign: z[h]),
    "subtracted": projection(join=lambda theta0, step: theta0 - step),
    "upside_down": projection(scale=lambda d, D: (D / d) ** 0.5),
    "no_root": projection(scale=lambda d, D: d / D),
    "root_of_d": projection(scale=lambda d, D: d**-0.5),
    "h_ignored": projection(move=_in_turn),
    "sign_by_column": projection(move=lambda z, h, sign: sign[h] * z[h]),
    "all_scaled": lambda theta0, z, h, sign: (len(z) / len(theta0)) ** 0.5 * (theta0 + sign * z[h]),
    "multiplied": projection(join=lambda theta0, step: theta0 * (1 + step)),
    "scattered": lambda theta0, z, h, sign: _scattered(theta0, z, h, sign * z[h]),
    "theta0_by_h": lambda theta0, z, h, sign: RIGHT_PROJECTION(theta0[h], z, h, sign),
    "exact_length": lambda theta0, z, h, sign: theta0 + sign * z[h] / torch.bincount(h)[h] ** 0.5,
    "dense": lambda theta0, z, h, sign: theta0 + _P(z, h, sign) @ z,
    "no_gradient": projection(move=lambda z, h, sign: sign * z.detach()[h] + 0 * z[h]),
}


@pytest.mark.parametrize("mistake", PROJECTIONS)
def test_wrong_projections(mistake):
    assert_caught("change.project", PROJECTIONS[mistake], mistake)


@pytest.mark.parametrize(("mistake", "wrong"), [
    ("h_ignored", projection(move=lambda z, h, sign: sign * z)),
    ("scattered", lambda theta0, z, h, sign: _scattered(theta0, z, h, sign * z)),
    ("scattered", lambda theta0, z, h, sign: theta0.index_add(
        0, h, (len(z) / len(theta0)) ** 0.5 * sign * z[h])),
    ("dense", lambda theta0, z, h, sign: theta0 + (_P(z, h, sign) * z).sum(1)),
], ids=["z as it is", "z to h", "index_add", "sum"])
def test_other_ways_to_the_same_wrong_projections(mistake, wrong):
    assert_caught("change.project", wrong, mistake)


@pytest.mark.parametrize("right", [
    projection(), projection(move=lambda z, h, sign: z.index_select(0, h) * sign),
    projection(move=lambda z, h, sign: sum((h == j) * z[j] for j in range(len(z))) * sign),
    projection(move=lambda z, h, sign: torch.gather(z, 0, h) * sign),
], ids=["plain", "index_select", "mask by mask", "gather"])
def test_right_projections_pass_and_then_move_a_model(right, tiny):
    assert examine(find("change.project"), right).state == PASSED
    model = tiny("bert")
    moved = pt.course.subspace.Subspace(model, d=5, project=right)
    with torch.no_grad():
        moved.z += 1
    other = pt.course.subspace.Subspace(model, d=5)
    assert not torch.equal(moved.theta(), other.theta())
    with torch.no_grad():
        other.z += 1
    assert torch.allclose(moved.theta(), other.theta(), atol=1e-6)


# ── change.bitfit ────────────────────────────────────────────────────────────────────────────


class Right(pt.Adapter):
    """A right answer in its own words; each wrong one changes one thing."""

    def __init__(self, base):
        super().__init__(base)
        self.b = nn.Parameter(self.start(base))

    def start(self, base):
        return torch.zeros(base.bias.shape)

    def forward(self, x):
        y = self.base(x)
        return self.join(y, self.b.to(y.dtype))

    def join(self, y, b):
        return y + b


def adapter(**changes):
    """A copy of `Right` with other attributes or methods."""
    return type("BiasAdapter", (Right,), changes)


class NotAnAdapter(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base


def _after(change):
    def init(self, base):
        Right.__init__(self, base)
        change(self, base)
    return init


def _plain_tensor(self, base):
    del self.b
    self.b = torch.zeros(base.bias.shape)


def _weight_too(self, base):
    self.W = nn.Parameter(base.weight.detach().clone())


def _other_base(self, base):
    self.base = nn.Linear(base.weight.shape[-1], base.weight.shape[0])


def _into_the_base(self, x):
    with torch.no_grad():
        self.base.bias += self.b.to(self.base.bias.dtype)
    return self.base(x) + 0 * self.b.to(x.dtype)


def _misnamed(self, base):
    self.bias = self.b
    del self.b


def _not_yet(self, x):
    raise pt.NotAttempted("change.bitfit")


def _cut(self, x):
    with torch.no_grad():
        y = self.base(x)
    return y + self.b.to(y.dtype)


BIASES = {
    "not_adapter": NotAnAdapter,
    "base_lost": adapter(__init__=_after(_other_base)),
    "base_trained": adapter(__init__=_after(lambda self, base: base.bias.requires_grad_())),
    "names": adapter(__init__=_after(_plain_tensor)),
    "misnamed": adapter(__init__=_after(_misnamed)),
    "layers_inside": adapter(__init__=_after(lambda self, base: (
        delattr(self, "b"), setattr(self, "b", nn.Linear(1, base.bias.numel()))))),
    "buffer": adapter(__init__=_after(lambda self, base: self.register_buffer(
        "size", torch.tensor(len(base.bias))))),
    "input_changed": adapter(forward=lambda self, x: self.base(x.add_(1)) + self.b.to(x.dtype)),
    "second_call": adapter(join=lambda self, y, b: (y + b, self.b.data.mul_(0.5))[0]),
    "training_only": adapter(join=lambda self, y, b: y + b if self.training else y),
    "shapes": adapter(start=lambda self, base: torch.zeros(1)),
    "more_parameters": adapter(__init__=_after(_weight_too)),
    "forward_left": adapter(forward=_not_yet),
    "no_return": adapter(forward=lambda self, x: None),
    "base_changed": adapter(forward=_into_the_base),
    "copied": adapter(start=lambda self, base: base.bias.detach().clone()),
    "b_not_zero": adapter(start=lambda self, base: torch.randn(base.bias.shape)),
    "dtype": adapter(start=lambda self, base: torch.zeros_like(base.bias)),
    "b_unused": adapter(join=lambda self, y, b: y),
    "replaced": adapter(join=lambda self, y, b: y - self.base.bias + b),
    "bias_twice": adapter(join=lambda self, y, b: y + self.base.bias + b),
    "subtracted": adapter(join=lambda self, y, b: y - b),
    "multiplied": adapter(join=lambda self, y, b: y * (1 + b)),
    "only_times": adapter(join=lambda self, y, b: y * b),
    "added_twice": adapter(join=lambda self, y, b: y + b + b),
    "before_base": adapter(forward=lambda self, x: self.base(x + self.b.to(x.dtype))),
    "only_b": adapter(join=lambda self, y, b: b.expand_as(y)),
    "start_differs": adapter(join=lambda self, y, b: y + b + (0 if b.any() else 1)),
    "no_gradient": adapter(join=lambda self, y, b: y + b.detach()),
    "input_cut": adapter(forward=_cut),
}


@pytest.mark.parametrize("mistake", BIASES)
def test_wrong_adapters(mistake):
    assert_caught("change.bitfit", BIASES[mistake], mistake)


@pytest.mark.parametrize("right", [
    Right, pt.bitfit.BiasAdapter,
    adapter(start=lambda self, base: torch.zeros_like(base.bias, dtype=torch.float32)),
    adapter(forward=lambda self, x: (self.base(x).float() + self.b).to(x.dtype)),
    adapter(forward=lambda self, x: self.base(x).add_(self.b)),
], ids=["plain", "reference", "zeros_like", "float", "in place"])
def test_right_adapters_pass(right):
    result = examine(find("change.bitfit"), right)
    assert result.state == PASSED, result


@pytest.mark.parametrize("odd", [None, 3, "y", object(), torch.zeros(2)])
def test_odd_outputs_of_an_adapter_are_judged(odd):
    result = examine(find("change.bitfit"), adapter(forward=lambda self, x: odd))
    assert result.state == WRONG
    assert "could not be judged" not in result.message


# ── the cases tell the mistakes apart ────────────────────────────────────────────────────────


def test_the_inputs_tell_all_wrong_counts_apart():
    for seed in range(4):
        (case,) = change.energy_cases(seed)
        inputs = list(zip(case["sigmas"], case["shares"]))
        usual = list(zip(*(change.wrong_energies(*given) for given in inputs)))
        names = {tuple(value for _, value in answers): answers[0][0] for answers in usual}
        assert set(names.values()) == set(change.ENERGY_MISTAKES) - {
            "no_return", "not_whole", "tensor"}
        assert tuple(pt.spectra.energy_rank(*given) for given in inputs) not in names
        for answers in usual:
            assert names[tuple(value for _, value in answers)] == answers[0][0]


def test_two_inputs_meet_their_share_exactly():
    (case,) = change.energy_cases(0)
    exact = [(sigma.tolist(), share) for sigma, share in zip(case["sigmas"], case["shares"])
             if share * sum(s * s for s in sigma.tolist()) in sigma.square().cumsum(0).tolist()]
    assert exact == [([2.0] * 4, 0.5), ([2.0] * 4, 1.0)]


@pytest.mark.parametrize("id", IDS)
def test_after_a_failure_the_check_line_run_twice_is_still_not_passed(id, capsys):
    wrong = {"change.energy": ENERGIES["not_squared"], "change.truncate": TRUNCATIONS["no_sigma"],
             "change.project": PROJECTIONS["no_sign"], "change.bitfit": BIASES["replaced"]}[id]
    given = pt.check(id, wrong)
    assert given is find(id).resolve()
    capsys.readouterr()
    assert pt.check(id, given) is given
    assert "reference" in (said := capsys.readouterr().out)
    assert "passed" not in said
    pt.course.learner._kernel.records.pop(id)
