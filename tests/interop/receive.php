<?php
// Python to PHP: receives one message from the queue of a key, and prints what msg_receive told.
// Asked: key, type, max_bytes, unserialize, flags (names of constants).

$asked = json_decode($argv[1], true);
$queue = msg_get_queue($asked['key']);
$flags = array_sum(array_map('constant', $asked['flags']));
$type = $message = $error = null;
$returned = @msg_receive(
    $queue,
    $asked['type'],
    $type,
    $asked['max_bytes'],
    $message,
    $asked['unserialize'],
    $flags,
    $error,
);
$told = ['returned' => $returned, 'type' => $type, 'error' => $error];
if (is_string($message)) {
    $told['text_hex'] = bin2hex($message);
} else {
    $told['value'] = var_export($message, true);
}
echo json_encode($told + ['warning' => error_get_last()['message'] ?? '']);
