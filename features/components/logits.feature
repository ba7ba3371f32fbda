Feature: Logits

  @logits.token_rows
  Scenario: Each token gets the product with its own row
    When logits is given
      | input  | value                                |
      | x      | [[1, 2], [3, 4], [5, 6]]             |
      | weight | [[1, 0], [0, 1], [1, 1], [2, -1]]    |
    Then it returns [[1, 2, 3, 0], [3, 4, 7, 2], [5, 6, 11, 4]]

  @logits.plain_product
  Scenario: The product is neither scaled nor centred
    When logits is given
      | input  | value                                |
      | x      | [[1, 1], [2, 1], [1, 3]]             |
      | weight | [[4, 0], [0, 4], [8, 8], [1, 1]]     |
    Then it returns [[4, 4, 16, 2], [8, 4, 24, 3], [4, 12, 32, 4]]

  @logits.token_rows
  Scenario: The model's logits follow the equations
    When the model reads a prompt, a chunk and single tokens
    Then logits follow the equations
