Feature: Attention context

  @attention_context.weighted_sum
  Scenario: Each number of each value is weighed, not only the first
    When attention_context is given
      | input  | value |
      | probs  | [[[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]], [[1, 0, 0], [0.25, 0.75, 0], [0.5, 0.25, 0.25]]] |
      | values | [[[10, 100], [20, 200], [40, 400]], [[1, 3], [2, 6], [4, 12]]] |
    Then it returns [[10, 100, 1, 3], [15, 150, 1.75, 5.25], [27.5, 275, 2, 6]]

  @attention_context.heads_side_by_side
  Scenario: The first head fills the first columns of every position
    When attention_context is given
      | input  | value |
      | probs  | [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]] |
      | values | [[[1, 2], [3, 4], [5, 6]], [[10, 20], [30, 40], [50, 60]]] |
    Then it returns [[1, 2, 10, 20], [3, 4, 30, 40], [5, 6, 50, 60]]

  @attention_context.heads_side_by_side
  Scenario: Every block of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.context follow the equations
