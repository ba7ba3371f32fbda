Feature: Key and value cache

  @cache.past_then_new
  Scenario: New keys stand behind the past, which stays as it was
    When cache is given
      | input       | value                      |
      | past_keys   | [[[1], [11]], [[2], [12]]] |
      | past_values | [[[5], [15]], [[6], [16]]] |
      | k           | [[[3], [30], [31]], [[4], [40], [41]]] |
      | v           | [[[7], [70], [71]], [[8], [80], [81]]] |
    Then keys is [[[1], [11], [3], [30], [31]], [[2], [12], [4], [40], [41]]]

  @cache.own_storage
  Scenario: Values are kept apart from keys
    When cache is given
      | input       | value                      |
      | past_keys   | [[[1], [11]], [[2], [12]]] |
      | past_values | [[[5], [15]], [[6], [16]]] |
      | k           | [[[3], [30], [31]], [[4], [40], [41]]] |
      | v           | [[[7], [70], [71]], [[8], [80], [81]]] |
    Then values is [[[5], [15], [7], [70], [71]], [[6], [16], [8], [80], [81]]]
    And keys is [[[1], [11], [3], [30], [31]], [[2], [12], [4], [40], [41]]]

  @cache.past_then_new
  Scenario: The model's cache holds every position of every block
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.keys and h.N.attn.values follow the equations
