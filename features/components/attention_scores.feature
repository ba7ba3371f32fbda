Feature: Attention scores

  @attention_scores.scaled_by_root_of_head_dim
  Scenario: Scores of heads of width four are halved
    When attention_scores is given
      | input | value |
      | q     | [[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]], [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]]] |
      | keys  | [[[1, 2, 3, 0], [4, 5, 6, 0], [7, 8, 9, 0]], [[1, 1, 2, 0], [3, 5, 8, 0], [13, 21, 34, 0]]] |
    Then it returns [[[1, -inf, -inf], [2, 5, -inf], [3, 6, 9]], [[2, -inf, -inf], [2, 10, -inf], [4, 16, 68]]]

  @attention_scores.scaled_by_root_of_head_dim
  Scenario: A config without scale_attn_weights leaves the scores as they are
    When attention_scores is given
      | input              | value |
      | q                  | [[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]], [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]]] |
      | keys               | [[[1, 2, 3, 0], [4, 5, 6, 0], [7, 8, 9, 0]], [[1, 1, 2, 0], [3, 5, 8, 0], [13, 21, 34, 0]]] |
      | scale_attn_weights | 0 |
    Then it returns [[[2, -inf, -inf], [4, 10, -inf], [6, 12, 18]], [[4, -inf, -inf], [4, 20, -inf], [8, 32, 136]]]

  @attention_scores.layer_scale_of_the_config
  Scenario: The third block is not scaled by its index
    When attention_scores is given
      | input | value                                     |
      | q     | [[[1], [2], [3]], [[1], [1], [2]]]        |
      | keys  | [[[3], [6], [9]], [[30], [60], [90]]]     |
      | layer | 2                                         |
    Then it returns [[[3, -inf, -inf], [6, 12, -inf], [9, 18, 27]], [[30, -inf, -inf], [30, 60, -inf], [60, 120, 180]]]

  @attention_scores.layer_scale_of_the_config
  Scenario: With scale_attn_by_inverse_layer_idx the third block is divided by three
    When attention_scores is given
      | input                           | value                                     |
      | q                               | [[[1], [2], [3]], [[1], [1], [2]]]        |
      | keys                            | [[[3], [6], [9]], [[30], [60], [90]]]     |
      | layer                           | 2                                         |
      | scale_attn_by_inverse_layer_idx | 1                                         |
    Then it returns [[[1, -inf, -inf], [2, 4, -inf], [3, 6, 9]], [[10, -inf, -inf], [10, 20, -inf], [20, 40, 60]]]

  @attention_scores.causal
  Scenario: A query sees itself and what came before
    When attention_scores is given
      | input | value                                  |
      | q     | [[[1], [2], [3]], [[1], [1], [2]]]     |
      | keys  | [[[1], [10], [100]], [[1], [2], [4]]]  |
    Then it returns [[[1, -inf, -inf], [2, 20, -inf], [3, 30, 300]], [[1, -inf, -inf], [1, 2, -inf], [2, 4, 8]]]

  @attention_scores.mask_counts_the_past
  Scenario: Three new queries after two positions see three, four and five keys
    When attention_scores is given
      | input | value                                                        |
      | q     | [[[1], [2], [3]], [[1], [1], [2]]]                           |
      | keys  | [[[1], [2], [3], [4], [5]], [[5], [4], [3], [2], [1]]]       |
    Then it returns [[[1, 2, 3, -inf, -inf], [2, 4, 6, 8, -inf], [3, 6, 9, 12, 15]], [[5, 4, 3, -inf, -inf], [5, 4, 3, 2, -inf], [10, 8, 6, 4, 2]]]

  @attention_scores.causal @attention_scores.mask_counts_the_past
  Scenario: Every block of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.scores follow the equations
