<?php
// PHP to Python: sends one value of values.php to the queue of a key, and prints what msg_send told.
// Asked: key, type, case, serialize, blocking.

$asked = json_decode($argv[1], true);
$value = (require __DIR__ . '/values.php')[$asked['case']];
$queue = msg_get_queue($asked['key']);
$returned = $error = $thrown = null;
try {
    $returned = @msg_send($queue, $asked['type'], $value, $asked['serialize'], $asked['blocking'], $error);
} catch (TypeError $caught) {
    $thrown = get_class($caught) . ': ' . $caught->getMessage();
}
echo json_encode([
    'returned' => $returned,
    'error' => $error,
    'warning' => error_get_last()['message'] ?? '',
    'thrown' => $thrown,
]);
