Feature: Weight file

  The files that are written here hold a GPT-2 with 5 tokens, 4 positions, n_embd 4 and n_inner 6. Element i
  of tensor n is ((7 n + 3 i) mod 256 - 45) / 16, where n counts the tensors from wte.weight, wpe.weight and
  h.0.ln_1.weight on, and i the elements of one. float16 and bfloat16 hold these numbers exactly.

  @weight_file.every_tensor_as_stored
  Scenario: The memory of the model on trial is its file
    When the tensors of the model on trial are taken from its memory
    Then every element of every tensor in memory is what the safetensors library finds in its files

  @weight_file.every_tensor_as_stored
  Scenario: No bias is 0, no gain has the mean 1, and no tensor is left out
    Given a weight file of 3 blocks
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.names_with_or_without_prefix
  Scenario: All names have the prefix
    Given a weight file of 2 blocks
    And all names of the file begin with "transformer."
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.names_with_or_without_prefix
  Scenario: No name has the prefix
    Given a weight file of 2 blocks
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.inputs_are_rows
  Scenario: The square matrix of attention keeps its rows
    Given a weight file of 2 blocks
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.inputs_are_rows
  Scenario Outline: A matrix of nn.Linear is refused
    Given a weight file of 2 blocks
    And <matrix> of the file is stored with its rows as columns
    When the weight file is loaded
    Then the weight file is refused, and the message names <matrix>

    Examples:
      | matrix                 |
      | h.1.attn.c_attn.weight |
      | h.0.mlp.c_fc.weight    |
      | h.1.mlp.c_proj.weight  |

  @weight_file.blocks_by_number
  Scenario: h.10 comes after h.2
    Given a weight file of 12 blocks
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.every_shard
  Scenario: Three shards hold the tensors in turn
    Given a weight file of 2 blocks
    And the tensors of the file lie in 3 shards in turn
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.tied_head_is_wte
  Scenario: A file without a head
    Given a weight file of 2 blocks
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.tied_head_is_wte
  Scenario: A head that contradicts the config is refused
    Given a weight file of 2 blocks
    And the file also holds a lm_head.weight that is wte.weight with one other number
    When the weight file is loaded
    Then the weight file is refused, and the message names lm_head.weight

  @weight_file.untied_head_is_its_own
  Scenario: A head that is not tied
    Given a weight file of 2 blocks with a head of its own
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.vocabulary_of_the_config
  Scenario: A vocabulary that was padded is refused
    Given a weight file of 2 blocks
    And wte.weight of the file has 3 rows more than the config has tokens
    When the weight file is loaded
    Then the weight file is refused, and the message names wte.weight

  @weight_file.decoded_by_declared_dtype
  Scenario Outline: Numbers of the dtype <dtype>
    Given a weight file of 2 blocks
    And all numbers of the file are stored as <dtype>
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

    Examples:
      | dtype |
      | F16   |
      | BF16  |
      | F32   |
      | F64   |

  @weight_file.decoded_by_declared_dtype
  Scenario: Two dtypes in one file
    Given a weight file of 2 blocks
    And all numbers of the file are stored as F16
    And h.1.attn.c_proj.weight of the file is stored as BF16
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

  @weight_file.little_endian
  Scenario Outline: The lowest byte of <dtype> comes first
    Given a weight file of 2 blocks
    And all numbers of the file are stored as <dtype>
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file

    Examples:
      | dtype |
      | F32   |
      | BF16  |

  @weight_file.weights_are_floats
  Scenario: Whole numbers of 16 bits are no weights
    Given a weight file of 2 blocks
    And h.1.mlp.c_fc.weight of the file is stored as I16
    When the weight file is loaded
    Then the weight file is refused, and the message names h.1.mlp.c_fc.weight

  @weight_file.file_is_whole
  Scenario: A file that was cut off is refused
    Given a weight file of 2 blocks
    And the last 4 bytes of the file are missing
    When the weight file is loaded
    Then the weight file is refused, and the message names ln_f.bias

  @weight_file.file_is_whole
  Scenario: A file with bytes that belong to no tensor is refused
    Given a weight file of 2 blocks
    And the file goes on for 8 bytes behind its last tensor
    When the weight file is loaded
    Then the weight file is refused, and the message names 8 trailing bytes

  @weight_file.file_is_whole
  Scenario: A file with two tensors in one place is refused
    Given a weight file of 2 blocks
    And the last tensor of the file lies over the first
    When the weight file is loaded
    Then the weight file is refused, and the message names an overlap

  @weight_file.nothing_filled_in
  Scenario Outline: A file without <tensor> is refused
    Given a weight file of 2 blocks
    And <tensor> of the file is left out
    When the weight file is loaded
    Then the weight file is refused, and the message names <tensor>

    Examples:
      | tensor                |
      | wpe.weight            |
      | h.1.attn.c_attn.bias  |
      | h.0.mlp.c_proj.weight |
      | ln_f.weight           |

  @weight_file.nothing_left_over
  Scenario: A tensor that GPT-2 does not have is refused
    Given a weight file of 2 blocks
    And the file also holds h.1.mlp.c_gate.weight with 4 rows of 6 numbers
    When the weight file is loaded
    Then the weight file is refused, and the message names h.1.mlp.c_gate.weight

  @weight_file.masks_are_no_weights
  Scenario: Masks beside the weights are ignored
    Given a weight file of 2 blocks
    And the file also holds the masks of each block
    When the weight file is loaded
    Then every element of every tensor in memory is that of the file
