Feature: Attention weights

  @attention_weights.over_keys
  Scenario: The logarithms of 1 and 3 share a query out as a quarter and three quarters
    When attention_weights is given scores = [[[0, -inf, -inf], [0, log(3), -inf], [0, log(2), log(5)]], [[7, -inf, -inf], [log(4), 0, -inf], [log(2), log(2), 0]]]
    Then it returns [[[1, 0, 0], [1/4, 3/4, 0], [1/8, 1/4, 5/8]], [[1, 0, 0], [4/5, 1/5, 0], [2/5, 2/5, 1/5]]]

  @attention_weights.normalised
  Scenario: Equal scores give equal shares, also of the last key
    When attention_weights is given scores = [[[2, 2, -inf, -inf], [2, 2, 2, -inf], [2, 2, 2, 2]], [[-1, -1, -inf, -inf], [0, 0, 0, -inf], [9, 9, 9, 9]]]
    Then it returns [[[1/2, 1/2, 0, 0], [1/3, 1/3, 1/3, 0], [1/4, 1/4, 1/4, 1/4]], [[1/2, 1/2, 0, 0], [1/3, 1/3, 1/3, 0], [1/4, 1/4, 1/4, 1/4]]]

  @attention_weights.never_overflows
  Scenario: Scores of a thousand neither overflow nor vanish
    When attention_weights is given scores = [[[1000, -inf, -inf], [1000, 1000, -inf], [0, 1000, 1000]], [[-1000, -inf, -inf], [-1000, -1000, -inf], [-1000, -1000, -1000]]]
    Then it returns [[[1, 0, 0], [1/2, 1/2, 0], [0, 1/2, 1/2]], [[1, 0, 0], [1/2, 1/2, 0], [1/3, 1/3, 1/3]]]

  @attention_weights.over_keys
  Scenario: Every block of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.probs follow the equations
