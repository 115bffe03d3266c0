<?php
// The values that send.php sends to Python, by the name of their case in php_to_python.json.

class Pt
{
    public $x = 1;
    protected $y = 2;
    private $z = 3;
}

return [
    'str_hello' => 'hello',
    'str_empty' => '',
    'str_0' => '0',
    'str_nul' => "a\0b",
    'str_utf8' => '消息',
    'str_newline' => "hello\n",
    'str_quote' => 'say "hi"',
    'int_42' => 42,
    'int_0' => 0,
    'int_neg' => -7,
    'int_max' => PHP_INT_MAX,
    'int_min' => PHP_INT_MIN,
    'float_1.5' => 1.5,
    'float_0.1' => 0.1,
    'float_1e100' => 1e100,
    'float_int' => 3.0,
    'float_nan' => NAN,
    'float_inf' => INF,
    'true' => true,
    'false' => false,
    'null' => null,
    'arr_empty' => [],
    'arr_list' => [1, 2, 3],
    'arr_map' => ['id' => 7, 'name' => 'bob'],
    'arr_nested' => ['a' => [1, 'two', null, true, 2.5]],
    'obj_std' => (object) ['a' => 1],
    'obj_Pt' => new Pt(),
];
