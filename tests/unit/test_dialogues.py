"""Dialogue batches and the models that read them: against plain loops, and blind to company and to the future."""

import pytest
import torch
from torch import Tensor, nn

from raysys.batches.batch import Part, Turns
from raysys.batches.padded import Layout
from raysys.errors import ConfigError
from raysys.models.dialogue_rnn import DialogueRnn, StreamedGru, reverse_turns
from raysys.models.multiemo import Multiemo, MultiemoConfig

DIMS = {"audio": 5, "text": 4, "video": 3}


def part(seed: int = 0) -> Part:
    """Three dialogues of 4, 1 and 6 turns, their utterances shuffled, of 1 to 5 frames."""
    torch.manual_seed(seed)
    dialogue = torch.tensor([0] * 4 + [7] + [3] * 6)
    turn = torch.tensor([0, 1, 2, 5, 0, 0, 1, 2, 3, 4, 5])
    speaker = torch.tensor([9, 4, 9, 4, 2, 1, 2, 3, 1, 1, 2])
    order = torch.randperm(11)
    frames, offsets = {}, {}
    for modality, dim in DIMS.items():
        lengths = torch.randint(1, 6, (11,))
        frames[modality] = torch.randn(int(lengths.sum()), dim)
        offsets[modality] = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    turns = Turns(dialogue[order], turn[order], speaker[order])
    labels = torch.arange(11) % 3
    return Part(frames, offsets, torch.eye(3)[labels], labels, turns=turns)


def test_whole_dialogues_come_in_the_order_of_their_turns():
    data = part()
    assert data.turns is not None
    for batch in data.batches(2, dialogues=True, shuffle=torch.Generator().manual_seed(1)):
        layout = batch.layout
        assert layout is not None
        assert sorted(batch.rows.tolist()) == sorted(
            batch.rows[layout.places[layout.mask]].tolist()
        )
        for places, mask in zip(layout.places, layout.mask, strict=True):
            rows = batch.rows[places[mask]]
            assert len(set(data.turns.dialogue[rows].tolist())) == 1
            assert data.turns.turn[rows].tolist() == sorted(data.turns.turn[rows].tolist())
    rows = torch.cat([batch.rows for batch in data.batches(2, dialogues=True)])
    assert sorted(rows.tolist()) == list(range(11))


def test_speakers_are_numbered_within_their_dialogue():
    data = part()
    assert data.turns is not None
    batch = data.of_dialogues(data.dialogues())
    assert batch.layout is not None
    for places, mask, speakers in zip(
        batch.layout.places, batch.layout.mask, batch.layout.speakers, strict=True
    ):
        names = data.turns.speaker[batch.rows[places[mask]]]
        known = speakers[mask]
        assert ((names[:, None] == names) == (known[:, None] == known)).all()
        assert int(known.max()) == len(set(names.tolist())) - 1


def test_arranging_and_flattening_undo_each_other():
    data = part()
    batch = data.of_dialogues(data.dialogues())
    assert batch.layout is not None
    values = torch.randn(11, 3)
    torch.testing.assert_close(batch.layout.flatten(batch.layout.arrange(values)), values)
    assert not batch.layout.arrange(values)[~batch.layout.mask].any()


def test_mixtures_are_dialogues_of_their_own():
    mixed = part().with_mixtures(
        torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([0.7, 0.6])
    )
    lengths = sorted(len(rows) for rows in mixed.dialogues())
    assert lengths == [1, 1, 1, 4, 6]
    batch = mixed.of_dialogues(mixed.dialogues())
    assert batch.layout is not None
    assert int(batch.layout.mask.sum()) == 13


@pytest.mark.parametrize("looped", [0, 3])
def test_a_streamed_cell_is_torchs_gru_cell(looped: int):
    torch.manual_seed(0)
    cell = StreamedGru(2, known=4, looped=looped, state=5)
    inputs, more = torch.randn(2, 6, 1, 4), torch.randn(2, 6, max(looped, 1))
    state = torch.randn(2, 6, 5)
    ours = cell(cell.before(inputs)[0], state, more if looped else None)
    for stream in range(2):
        theirs = nn.GRUCell(4 + looped, 5)
        weights = [cell.from_known[stream]]
        weights += [cell.from_looped[stream]] if cell.from_looped is not None else []
        with torch.no_grad():
            theirs.weight_ih.copy_(torch.cat(weights).T)
            theirs.weight_hh.copy_(cell.from_state[stream].T)
            theirs.bias_ih.copy_(cell.known_bias[stream, 0])
            theirs.bias_hh.copy_(cell.state_bias[stream, 0])
        whole = (
            torch.cat([inputs[stream, :, 0], more[stream]], dim=1)
            if looped
            else inputs[stream, :, 0]
        )
        torch.testing.assert_close(ours[stream], theirs(whole, state[stream]))


def by_loop(
    rnn: DialogueRnn, inputs: Tensor, speakers: Tensor, stream: int, dialogue: int
) -> Tensor:
    """DialogueRNN's equations for one dialogue of one stream, a list a state."""

    def one(cell: StreamedGru, x: Tensor, state: Tensor, more: Tensor | None = None) -> Tensor:
        gates = x @ cell.from_known[stream] + cell.known_bias[stream, 0]
        if more is not None and cell.from_looped is not None:
            gates = gates + more @ cell.from_looped[stream]
        inner = state @ cell.from_state[stream] + cell.state_bias[stream, 0]
        (r, z, n), (ri, zi, ni) = gates.chunk(3), inner.chunk(3)
        r, z = torch.sigmoid(r + ri), torch.sigmoid(z + zi)
        return (1 - z) * torch.tanh(n + r * ni) + z * state

    size = rnn.state
    parties = {int(s): torch.zeros(size) for s in speakers}
    overall: list[Tensor] = []
    emotion, found = torch.zeros(size), []
    for u, s in zip(inputs[stream, dialogue], speakers.tolist(), strict=True):
        context = torch.zeros(size)
        if overall:
            past = torch.stack(overall)
            context = (past @ rnn.attention[stream]).softmax(dim=0).T @ past
            context = context[0]
        last = overall[-1] if overall else torch.zeros(size)
        overall.append(one(rnn.global_cell, u, last, parties[s]))
        parties[s] = one(rnn.party_cell, u, parties[s], context)
        emotion = one(rnn.emotion_cell, parties[s], emotion)
        found.append(emotion)
    return torch.stack(found)


def test_dialogue_rnn_is_its_equations_one_turn_at_a_time():
    torch.manual_seed(0)
    rnn = DialogueRnn(2, dim=4, state=3, dropout=0.0)
    inputs, speakers = torch.randn(2, 3, 5, 4), torch.randint(0, 3, (3, 5))
    states = rnn(inputs, torch.stack([speakers, speakers.flip(1)]))
    for stream, who in ((0, speakers), (1, speakers.flip(1))):
        for dialogue in range(3):
            expected = by_loop(rnn, inputs, who[dialogue], stream, dialogue)
            torch.testing.assert_close(states[stream, dialogue], expected)


def test_reversing_turns_twice_is_nothing_and_padding_stays_at_the_end():
    values, lengths = torch.arange(10.0).reshape(1, 2, 5, 1), torch.tensor([3, 5])
    back = reverse_turns(values, lengths)
    assert back[0, 0, :, 0].tolist() == [2, 1, 0, 3, 4]
    torch.testing.assert_close(reverse_turns(back, lengths), values)


def model(**sizes: object) -> Multiemo:
    torch.manual_seed(0)
    small = {"dim": 8, "state": 6, "layers": 2, "heads": 2, "feedforward": 12}
    modalities = sizes.pop("modalities", ("audio", "text"))
    config = MultiemoConfig(**{**small, **sizes})
    return Multiemo(config, modalities, dims=DIMS, n_outputs=3).eval()


@pytest.mark.parametrize("modalities", [("audio", "text"), ("audio", "text", "video")])
@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("context", [("audio", "text"), ("audio",), ("video",), ()])
def test_a_dialogues_outputs_do_not_depend_on_its_company(
    modalities: tuple, fusion: bool, context: tuple
):
    sizes = {"modalities": modalities, "fusion": fusion, "context": context}
    net, data = model(**sizes, residual=fusion), part()
    assert (net.context is None) == (not set(context) & set(modalities))
    together = data.of_dialogues(data.dialogues())
    with torch.inference_mode():
        whole = net(together.modalities, together.layout)
        for rows in data.dialogues():
            single = data.of_dialogues([rows])
            logits = net(single.modalities, single.layout).logits
            places = [together.rows.tolist().index(int(row)) for row in rows]
            torch.testing.assert_close(logits, whole.logits[places], atol=1e-5, rtol=1e-5)


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return (
        centred / (x.var(dim=-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * norm.weight
        + norm.bias
    )


def attended(attention: nn.Module, query: Tensor, other: Tensor) -> Tensor:
    """Eq. 2-4 for the turns of one dialogue, a head at a time."""
    keys, values = linear(attention.key_value, other).chunk(2, dim=-1)
    width = query.shape[1] // attention.heads
    heads = []
    for h in range(attention.heads):
        own = slice(h * width, (h + 1) * width)
        q, k, v = (x[:, own] for x in (linear(attention.query, query), keys, values))
        heads.append((q @ k.T / width**0.5).softmax(dim=1) @ v)
    return linear(attention.project, torch.cat(heads, dim=1))


def fused_by_loop(net: Multiemo, context: dict[str, Tensor], modality: str) -> Tensor:
    """Eq. 2-12 for one dialogue: text queries audio, then video; audio text, video; video text, audio."""
    order = {
        "text": ("audio", "video"), "audio": ("text", "video"), "video": ("text", "audio"),
    }  # fmt: skip
    f = context[modality]
    for layer in net.fusion[modality].layers:
        for k, other in enumerate(order[modality]):
            f = normed(layer.norms[k], f + attended(layer.attentions[k], f, context[other]))
        wide = linear(layer.widen, f).clamp(min=0)
        f = normed(layer.last_norm, f + linear(layer.narrow, wide))
    return f


@pytest.mark.parametrize("configured", [("audio", "text", "video"), ("video", "text", "audio")])
def test_multiattn_is_its_equations_for_one_dialogue_at_a_time(configured: tuple):
    net, data = model(modalities=configured), part()
    batch = data.of_dialogues(data.dialogues())
    assert batch.layout is not None
    with torch.inference_mode():
        output = net(batch.modalities, batch.layout)
        pooled = {
            m: batch.layout.arrange(net.pools[m](padded.frames, padded.mask))
            for m, padded in batch.modalities.items()
        }
        context = net.context(pooled, batch.layout)
        for dialogue, (places, mask) in enumerate(
            zip(batch.layout.places, batch.layout.mask, strict=True)
        ):
            own = {m: states[dialogue][mask] for m, states in context.items()}
            for m in configured:
                expected = fused_by_loop(net, own, m)
                torch.testing.assert_close(output.vectors[m][places[mask]], expected)
        z = linear(net.contrast, torch.cat([output.vectors[m] for m in configured], dim=1))
        logits = linear(net.classify, linear(net.hidden, z).clamp(min=0))
    torch.testing.assert_close(output.contrast, z)
    torch.testing.assert_close(output.logits, logits)


def changed(data: Part, row: int) -> Part:
    """The part with other frames in one utterance."""
    frames = {m: f.clone() for m, f in data.frames.items()}
    for m, ends in data.offsets.items():
        frames[m][ends[row] : ends[row + 1]] += 1.0
    return Part(frames, data.offsets, data.targets, data.labels, turns=data.turns)


def test_forward_reading_never_sees_a_later_utterance():
    net, data = model(bidirectional=False, fusion=False), part()
    longest = max(data.dialogues(), key=len)
    before = data.of_dialogues([longest])
    for turn in (2, 5):
        after = changed(data, int(longest[turn])).of_dialogues([longest])
        with torch.inference_mode():
            first = net(before.modalities, before.layout).logits
            second = net(after.modalities, after.layout).logits
        torch.testing.assert_close(first[:turn], second[:turn])
        assert not torch.allclose(first[turn], second[turn])


def test_reading_both_ways_does_see_it():
    net, data = model(bidirectional=True, fusion=False), part()
    longest = max(data.dialogues(), key=len)
    before, after = (d.of_dialogues([longest]) for d in (data, changed(data, int(longest[5]))))
    with torch.inference_mode():
        first = net(before.modalities, before.layout).logits
        second = net(after.modalities, after.layout).logits
    assert not torch.allclose(first[0], second[0])


def test_swfc_sees_z_and_the_classifier_the_layer_after_it():
    net, data = model(), part()
    batch = data.of_dialogues(data.dialogues())
    output = net(batch.modalities, batch.layout)
    assert output.contrast is not None
    torch.testing.assert_close(output.embedding, torch.relu(net.hidden(output.contrast)))


def test_a_layout_of_padding_only_at_the_end_is_what_models_get():
    batch = part().of_dialogues(part().dialogues())
    assert isinstance(batch.layout, Layout)
    gaps = batch.layout.mask[:, 1:] & ~batch.layout.mask[:, :-1]
    assert not gaps.any()


def test_without_projection_the_context_is_the_rectified_state():
    """The authors' code for MELD: one direction, no linear layer."""
    sizes = {"bidirectional": False, "project": False, "dim": 8, "state": 8}
    net = model(**sizes).eval()
    assert net.context is not None
    assert len(net.context.merge) == 0
    inputs = {m: torch.randn(2, 5, 8) for m in ("audio", "text")}
    whole, one = torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 5, dtype=torch.int64)
    layout = Layout(torch.arange(10).reshape(2, 5), whole, one)
    found = net.context(inputs, layout)
    states = net.context.rnn(torch.stack(list(inputs.values())), layout.speakers.expand(2, -1, -1))
    for k, name in enumerate(inputs):
        torch.testing.assert_close(found[name], states[k].relu())


@pytest.mark.parametrize(
    "sizes, rule",
    [
        (
            {"project": False},
            "bidirectional is True, but must be false where model.multiemo.project",
        ),
        ({"project": False, "bidirectional": False, "state": 12}, r"dim \(8\)"),
    ],
)
def test_a_context_without_projection_must_fit(sizes: dict, rule: str):
    with pytest.raises(ConfigError, match=rule):
        MultiemoConfig(**{"dim": 8, "state": 8, **sizes})
