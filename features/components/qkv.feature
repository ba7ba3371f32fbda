Feature: Queries, keys and values

  @qkv.thirds
  Scenario: Queries come first, then keys, then values, and each third has both heads
    When qkv is given
      | input  | value                                              |
      | x      | [[1, 0], [0, 1], [1, 1]]                           |
      | weight | [[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]]     |
      | n_head | 2                                                  |
    Then q is [[[1], [10], [11]], [[2], [20], [22]]]
    And k is [[[3], [30], [33]], [[4], [40], [44]]]
    And v is [[[5], [50], [55]], [[6], [60], [66]]]

  @qkv.heads_are_columns
  Scenario: A head of width two has two columns of every position
    When qkv is given
      | input  | value |
      | x      | [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]] |
      | weight | [[100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111], [200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211], [300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311], [400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411]] |
      | n_head | 2 |
    Then q is [[[100, 101], [200, 201], [300, 301]], [[102, 103], [202, 203], [302, 303]]]
    And k is [[[104, 105], [204, 205], [304, 305]], [[106, 107], [206, 207], [306, 307]]]
    And v is [[[108, 109], [208, 209], [308, 309]], [[110, 111], [210, 211], [310, 311]]]

  @qkv.bias_added
  Scenario: The bias is added to every position
    When qkv is given
      | input  | value                                              |
      | x      | [[1, 0], [0, 1], [1, 1]]                           |
      | weight | [[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]]     |
      | bias   | [100, 200, 300, 400, 500, 600]                     |
      | n_head | 2                                                  |
    Then q is [[[101], [110], [111]], [[202], [220], [222]]]
    And k is [[[303], [330], [333]], [[404], [440], [444]]]
    And v is [[[505], [550], [555]], [[606], [660], [666]]]

  @qkv.stored_in_out
  Scenario: The stream multiplies the stored weight from the left
    When qkv is given
      | input  | value                                              |
      | x      | [[2, 1], [1, 3], [5, 2]]                           |
      | weight | [[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]]     |
      | n_head | 2                                                  |
    Then q is [[[12], [31], [25]], [[24], [62], [50]]]
    And k is [[[36], [93], [75]], [[48], [124], [100]]]
    And v is [[[60], [155], [125]], [[72], [186], [150]]]

  @qkv.thirds
  Scenario: Every block of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.q, h.N.attn.k and h.N.attn.v follow the equations
