"""BERT with a head over the mean of the real tokens, which transformers has no class for.

Its file is apart so that the class has a name that pickle finds, and so that transformers arrives
only with the first model: `loading` imports it when one is asked for.
"""

from transformers import BertForSequenceClassification
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooledBert(BertForSequenceClassification):
    """A classifier that reads the mean of the last hidden states, padding left out."""

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, *, labels=None,
                **kwargs):
        out = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
                        **kwargs | {"return_dict": True})
        hidden = out.last_hidden_state                      # (batch, seq, d_model)
        if attention_mask is None:
            attention_mask = hidden.new_ones(hidden.shape[:2])
        mask = attention_mask[..., None].to(hidden.dtype)   # (batch, seq, 1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)       # (batch, d_model)
        logits = self.classifier(self.dropout(pooled))      # (batch, labels)
        loss = None if labels is None else ForSequenceClassificationLoss(
            labels, logits, self.config)
        return SequenceClassifierOutput(loss, logits, out.hidden_states, out.attentions)
