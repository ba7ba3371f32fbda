Feature: Token and position embedding

  @embedding.token_plus_place
  Scenario: Each position is the sum of its token's row and its place's row
    When embedding is given
      | input | value                     |
      | ids   | [2, 0, 2]                 |
      | wte   | [[10, 1], [20, 2], [30, 3]] |
      | wpe   | [[0, 0.5], [0, 0.25], [100, 0], [7, 7]] |
    Then it returns [[30, 3.5], [10, 1.25], [130, 3]]

  @embedding.positions_follow_the_past
  Scenario: The first new token stands behind those already seen
    When embedding is given
      | input  | value                               |
      | ids    | [1, 0, 2]                           |
      | n_past | 2                                   |
      | wte    | [[10, 0], [20, 0], [30, 0]]         |
      | wpe    | [[0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [0, 6]] |
    Then it returns [[20, 3], [10, 4], [30, 5]]

  @embedding.positions_follow_the_past
  Scenario: The model counts positions through a prompt, a chunk and single tokens
    When the model reads a prompt, a chunk and single tokens
    Then embed follows the equations
