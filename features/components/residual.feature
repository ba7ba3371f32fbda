Feature: Residual connection

  @residual.both_added
  Scenario: Stream and branch are both in the sum
    When residual is given
      | input  | value                        |
      | stream | [[1, 2], [3, 4], [5, 6]]     |
      | branch | [[10, 20], [30, 40], [50, -60]] |
    Then it returns [[11, 22], [33, 44], [55, -54]]

  @residual.unscaled
  Scenario: A branch is not damped
    When residual is given
      | input  | value                          |
      | stream | [[0, 0], [1, 0], [0, 1]]       |
      | branch | [[1, 2], [0.5, 0.25], [-8, 3]] |
    Then it returns [[1, 2], [1.5, 0.25], [-8, 4]]

  @residual.both_added
  Scenario: Both additions of every block follow the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.mid and h.N.out follow the equations
