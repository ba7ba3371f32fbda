Feature: Attention output

  @attention_output.stored_in_out
  Scenario: The stream multiplies the square weight from the left
    When attention_output is given
      | input  | value                     |
      | x      | [[1, 2], [3, 5], [7, 11]] |
      | weight | [[1, 2], [3, 4]]          |
    Then it returns [[7, 10], [18, 26], [40, 58]]

  @attention_output.bias_added
  Scenario: The bias is added to every position
    When attention_output is given
      | input  | value                     |
      | x      | [[1, 2], [3, 5], [7, 11]] |
      | weight | [[1, 2], [3, 4]]          |
      | bias   | [100, 200]                |
    Then it returns [[107, 210], [118, 226], [140, 258]]

  @attention_output.dropout_off
  Scenario: No element of any block is dropped
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.out follow the equations
